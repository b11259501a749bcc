import { describe, expect, it } from 'vitest';
import {
  createSafeFetch,
  type SafeFetch,
  type SafeFetchOptions,
  type SafeResponse,
} from '../../src/image/safe-fetch.ts';
import { HOSTILE_URLS, REFUSED_URLS } from '../support/hostile-urls.ts';
import { rejectedBy } from '../support/thrown-by.ts';

interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly chunks?: readonly Uint8Array[];
}

const START = 'https://pictures.example.com/a.png?token=secret';

/** A network of canned answers by URL. */
function network(
  answers: Readonly<Record<string, Answer>>,
  options: Partial<SafeFetchOptions> = {},
): { readonly fetchUrl: SafeFetch; readonly asked: string[]; readonly open: () => number } {
  const asked: string[] = [];
  let open = 0;
  const fetchUrl = createSafeFetch({
    maxBytes: 100,
    timeoutMs: 10_000,
    request: async (url, { headers }): Promise<SafeResponse> => {
      asked.push(url.href);
      expect(Object.keys(headers).toSorted()).toEqual(['accept', 'accept-encoding', 'user-agent']);
      const answer = answers[url.href];
      if (answer === undefined) throw new Error(`connect ECONNREFUSED 10.9.8.7:443 ${url.href}`);
      open += 1;
      return {
        status: answer.status ?? 200,
        header: (name) => answer.headers?.[name] ?? null,
        body: stream(answer.chunks ?? []),
        close: () => void (open -= 1),
      };
    },
    ...options,
  });
  return { fetchUrl, asked, open: () => open };
}

async function* stream(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);

describe('createSafeFetch', () => {
  it('joins the chunks of a good answer', async () => {
    const { fetchUrl, open } = network({ [START]: { chunks: [bytes(1, 2), bytes(3)] } });
    expect([...(await fetchUrl(START))]).toEqual([1, 2, 3]);
    expect(open()).toBe(0);
  });

  it('asks nobody for URLs that are refused by their spelling', async () => {
    const { fetchUrl, asked } = network({});
    for (const url of [...HOSTILE_URLS, ...REFUSED_URLS]) {
      const error = await rejectedBy(fetchUrl(url, { param: 'messages[0]' }));
      expect([error.code, error.param], url).toEqual(['invalid_url', 'messages[0]']);
    }
    expect(asked).toEqual([]);
  });

  it('follows redirects, relative ones too, and closes each answer', async () => {
    const { fetchUrl, asked, open } = network({
      [START]: { status: 302, headers: { location: '/b.png' } },
      'https://pictures.example.com/b.png': {
        status: 308,
        headers: { location: 'https://cdn.example.org/c.png' },
      },
      'https://cdn.example.org/c.png': { chunks: [bytes(7)] },
    });
    expect([...(await fetchUrl(START))]).toEqual([7]);
    expect(asked).toHaveLength(3);
    expect(open()).toBe(0);
  });

  it('checks every redirect like the first URL and asks nobody where it must not go', async () => {
    const targets = [...HOSTILE_URLS, 'http://example.com/', 'file:///etc/passwd', 'data:,x'];
    for (const location of targets) {
      const { fetchUrl, asked, open } = network({
        [START]: { status: 301, headers: { location } },
      });
      const error = await rejectedBy(fetchUrl(START));
      expect(error.code, location).toBe('invalid_url');
      expect(asked).toEqual([START]);
      expect(open()).toBe(0);
      expect(error.message).not.toMatch(/\d+\.\d+\.\d+\.\d+|internal|secret/);
    }
  });

  it('gives up after the third redirect', async () => {
    const { fetchUrl, asked } = network({ [START]: { status: 302, headers: { location: START } } });
    const error = await rejectedBy(fetchUrl(START));
    expect(error.message).toContain('more than 3 times');
    expect(asked).toHaveLength(4);
  });

  const refused: readonly (readonly [what: string, answer: Answer, code: string, words: string])[] =
    [
      ['a missing file', { status: 404, chunks: [bytes(1)] }, 'invalid_image', '404'],
      ['no content', { status: 204 }, 'invalid_image', '204'],
      ['a part of a file', { status: 206, chunks: [bytes(1)] }, 'invalid_image', '206'],
      ['a redirect to nowhere', { status: 302 }, 'invalid_image', 'nowhere'],
      [
        'a redirect to nonsense',
        { status: 302, headers: { location: 'https://[' } },
        'invalid_image',
        'malformed',
      ],
      ['gzip', { headers: { 'content-encoding': 'gzip' } }, 'invalid_image', 'compressed'],
      ['brotli', { headers: { 'content-encoding': 'BR ' } }, 'invalid_image', 'compressed'],
      ['a large length', { headers: { 'content-length': '101' } }, 'image_too_large', 'at most'],
      [
        'more than allowed, unannounced',
        { chunks: [new Uint8Array(60), new Uint8Array(41)] },
        'image_too_large',
        'at most',
      ],
      [
        'less than announced',
        { headers: { 'content-length': '50' }, chunks: [new Uint8Array(49)] },
        'invalid_image',
        'broke off',
      ],
    ];
  for (const [what, answer, code, words] of refused) {
    it(`refuses ${what}`, async () => {
      const { fetchUrl, open } = network({ [START]: answer });
      const error = await rejectedBy(fetchUrl(START, { param: 'here' }));
      expect([error.code, error.param]).toEqual([code, 'here']);
      expect(error.message).toContain(words);
      expect(open()).toBe(0);
    });
  }

  it('stops reading at the first byte too many', async () => {
    let given = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (;;) {
        given += 1;
        yield new Uint8Array(40);
      }
    }
    const { fetchUrl } = network(
      {},
      {
        request: async () => ({
          status: 200,
          header: () => null,
          body: endless(),
          close: () => undefined,
        }),
      },
    );
    expect((await rejectedBy(fetchUrl(START))).code).toBe('image_too_large');
    expect(given).toBe(3);
  });

  it('says nothing of addresses, URLs and what the runtime reported', async () => {
    const error = await rejectedBy(network({}).fetchUrl(START));
    expect(error.code).toBe('invalid_image');
    expect(error.message).not.toMatch(/10\.9|ECONN|secret|example/);
  });

  it('gives up when the time for everything is over', async () => {
    const { fetchUrl } = network(
      {},
      {
        timeoutMs: 20,
        request: (_url, { signal }) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason as Error));
          }),
      },
    );
    const error = await rejectedBy(fetchUrl(START));
    expect(error.code).toBe('invalid_image');
    expect(error.message).toContain('longer than 0.02 s');
  });

  it("rejects with the caller's own reason when the caller aborts", async () => {
    const gone = new Error('gone');
    const controller = new AbortController();
    const { fetchUrl } = network(
      {},
      {
        request: async () => {
          controller.abort(gone);
          throw new Error('socket hang up');
        },
      },
    );
    await expect(fetchUrl(START, { signal: controller.signal })).rejects.toBe(gone);
    await expect(fetchUrl(START, { signal: controller.signal })).rejects.toBe(gone);
  });
});
