import { afterEach, describe, expect, it } from 'vitest';
import type { Completer } from '../../src/completer.ts';
import { collect, request } from '../support/completions.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createTestGateway, firstReplica, plainTable } from '../support/fleet-harness.ts';

const BEGIN = `{"type":"prefill-end","tokens":null,"promptTokens":6,"cachedTokens":0,"store":null,"promptLogprobs":null}\n`;
const TOKEN = `{"type":"token","id":70,"bytes":"YQ==","logprobs":null}\n`;
const WAIT = `{"type":"wait","state":"ready","progress":null}\n`;
const URLS = [
  'http://r0',
  'http://r1',
  'http://r2',
  'http://r3',
  'http://r4',
  'http://r5',
  'http://r6',
];

const open: Completer[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((gateway) => gateway.close()));
});

interface Hostile {
  readonly gateway: Completer;
  /** How often a replica was asked for an answer. */
  calls(): number;
  /** Bytes that were taken of the answers' bodies. */
  takenBytes(): number;
}

/** A gateway over replicas that all answer so; `pieces` are sent one by one, as they are taken. */
function hostile(pieces: () => Iterable<string>, status = 200): Hostile {
  let calls = 0;
  let takenBytes = 0;
  const fetch = async (url: string): Promise<Response> => {
    if (url.endsWith('/status')) {
      return Response.json({
        replica: 'r',
        state: 'ready',
        fingerprint: null,
        running: 0,
        waiting: 0,
        slots: 4,
        progress: null,
      });
    }
    if (!url.endsWith('/generate')) return new Response(null, { status: 404 });
    calls++;
    const source = pieces()[Symbol.iterator]();
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const next = source.next();
          if (next.done === true) return controller.close();
          const bytes = new TextEncoder().encode(next.value);
          takenBytes += bytes.length;
          controller.enqueue(bytes);
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { status });
  };
  const gateway = createTestGateway({ fetch }, firstReplica(URLS), plainTable());
  open.push(gateway);
  return { gateway, calls: () => calls, takenBytes: () => takenBytes };
}

const ask = ({ gateway }: Hostile, text = 'Hello') =>
  collect(
    gateway.complete(request({ maxTokens: 5 }, { prompt: { type: 'text', text, addBos: true } })),
  );

function* forever(piece: string, head = ''): Generator<string> {
  if (head !== '') yield head;
  for (;;) yield piece;
}

describe('a replica that was taken over', () => {
  it.each<[string, string]>([
    ['a list of four billion', BEGIN.replace('"tokens":null', '"tokens":{"length":4e9}')],
    ['an answer of nothing known', '{"type":"joke"}\n'],
    ['a second beginning', BEGIN + BEGIN],
    ['a token of another model', BEGIN + TOKEN.replace('70', '99999999')],
  ])('cannot cost more than an answer by %s', async (_what, lines) => {
    const fleet = hostile(() => [lines]);
    await expect(ask(fleet)).rejects.toMatchObject({ code: 'upstream_unavailable', status: 503 });
  });

  it('is cut off after the tokens that were asked for', async () => {
    const fleet = hostile(() => forever(TOKEN, BEGIN));
    await expect(ask(fleet)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(fleet.takenBytes()).toBeLessThan(100 * TOKEN.length * URLS.length);
  });

  it('is cut off in a line without end', async () => {
    const fleet = hostile(() => forever('x'.repeat(2 ** 20)));
    await expect(ask(fleet)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    // Two replicas, of each a line of at most 4 MiB.
    expect(fleet.takenBytes()).toBeLessThan(12 * 2 ** 20);
  });

  it('is not listened to in an error without end', async () => {
    const fleet = hostile(() => forever('x'.repeat(2 ** 16)), 500);
    await expect(ask(fleet)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(fleet.takenBytes() / fleet.calls()).toBeLessThan(4 * 2 ** 16);
  });

  it('cannot choose the status by a code that is none', async () => {
    const fleet = hostile(() => [
      '{"type":"error","code":"toString","message":"secret path /x"}\n',
    ]);
    const failure = await ask(fleet).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'upstream_unavailable', status: 503 });
    expect(String(failure)).not.toContain('secret');
  });

  it('cannot make a request wait for ever', async () => {
    const clock = createFakeClock();
    const fetch = async (): Promise<Response> =>
      new Response(
        new ReadableStream<Uint8Array>(
          {
            pull(controller) {
              clock.advance(60_000);
              controller.enqueue(new TextEncoder().encode(WAIT));
            },
          },
          { highWaterMark: 0 },
        ),
      );
    const affinity = firstReplica(['http://r0']);
    const gateway = createTestGateway({ fetch }, affinity, plainTable(), { clock, maxAttempts: 1 });
    open.push(gateway);
    await expect(collect(gateway.complete(request()))).rejects.toMatchObject({ status: 503 });
  });
});

describe('a request that takes replicas down', () => {
  it('is tried once more and then not again for a while', async () => {
    const fleet = hostile(() => [WAIT]);
    await expect(ask(fleet, 'of death')).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(fleet.calls()).toBe(2);
    await expect(ask(fleet, 'of death')).rejects.toMatchObject({ code: 'invalid_request' });
    expect(fleet.calls()).toBe(2);
    await expect(ask(fleet, 'another')).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(fleet.calls()).toBe(4);
  });

  it('costs others nothing: replicas that cannot be reached are all tried', async () => {
    let calls = 0;
    const fetch = async (url: string): Promise<Response> => {
      if (url.endsWith('/generate')) calls++;
      throw new TypeError('fetch failed');
    };
    const options = { maxAttempts: 6, coldMs: 1 };
    const gateway = createTestGateway({ fetch }, firstReplica(URLS), plainTable(), options);
    open.push(gateway);
    await expect(collect(gateway.complete(request()))).rejects.toMatchObject({ status: 503 });
    expect(calls).toBe(6);
  });
});
