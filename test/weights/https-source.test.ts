import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createHttpsSource } from '../../src/weights/https-source.ts';
import type { HttpsSourceOptions } from '../../src/weights/https-source.ts';
import { describeObjectSource } from '../contracts/object-source.ts';
import { startObjectServer } from '../support/object-server.ts';
import type { ObjectServer } from '../support/object-server.ts';

const STALL_MS = 12_345;

/** A promise and what fulfils it. */
function signalling(): { readonly fired: Promise<void>; readonly fire: () => void } {
  let fire: (() => void) | undefined;
  const fired = new Promise<void>((resolve) => {
    fire = resolve;
  });
  return { fired, fire: () => fire?.() };
}

/** A clock whose pauses are over at once and noted; stalls are over when the test says so. */
function pausesOf(notes: number[], stalls: (() => void)[] = []): HttpsSourceOptions['clock'] {
  return {
    sleep: (ms, signal) => {
      if (ms !== STALL_MS) {
        notes.push(ms);
        return Promise.resolve();
      }
      return new Promise((resolve, reject) => {
        stalls.push(resolve);
        signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    },
  };
}

describeObjectSource('a web folder', async () => {
  const server = await startObjectServer();
  return {
    source: createHttpsSource(`${server.origin}/models/tiny`, { allowHttp: true }),
    async put(key, bytes) {
      server.objects.set(`/models/tiny/${key}`, bytes);
    },
    dispose: () => server.close(),
  };
});

describe('a web folder', () => {
  const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) & 255);
  let server: ObjectServer;
  let pauses: number[];
  let stalls: (() => void)[];
  const open = (options: HttpsSourceOptions = {}) =>
    createHttpsSource(`${server.origin}/m/`, {
      allowHttp: true,
      stallMs: STALL_MS,
      clock: pausesOf(pauses, stalls) ?? {},
      ...options,
    } as HttpsSourceOptions);
  const gets = (): readonly IncomingMessage[] =>
    server.requests.filter(({ method }) => method === 'GET');
  const ranges = () => gets().map(({ headers }) => headers.range);
  const readAll = async (source = open()): Promise<Uint8Array> => {
    const target = new Uint8Array(200_000);
    await source.read('w', 100_000, target);
    return target;
  };
  const expectRead = async (source = open()): Promise<void> => {
    expect(Buffer.from(await readAll(source)).equals(bytes.subarray(100_000))).toBe(true);
  };
  const fault = async (source = open()): Promise<ServeError> => {
    const error: unknown = await readAll(source).catch((reason: unknown) => reason);
    if (!ServeError.is(error)) throw new Error('expected a ServeError', { cause: error });
    return error;
  };
  /** Intercepts the first `count` GETs. */
  const onGets = (count: number, handle: ObjectServer['intercept']): void => {
    let left = count;
    server.intercept = (request, response) =>
      request.method === 'GET' && left-- > 0 && handle(request, response);
  };

  beforeEach(async () => {
    server = await startObjectServer();
    server.objects.set('/m/w', bytes);
    pauses = [];
    stalls = [];
  });
  afterEach(() => server.close());

  it('asks once for the head, then for exact ranges of that version, uncompressed', async () => {
    const source = open({ token: 'secret' });
    await source.read('w', 0, new Uint8Array(8));
    await source.read('w', 8, new Uint8Array(100));
    expect(server.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET', 'GET']);
    expect(ranges()).toEqual(['bytes=0-7', 'bytes=8-107']);
    for (const { headers } of gets()) {
      expect(headers['if-match']).toBe((await source.head('w'))?.etag);
      // Node adds its own beside a range.
      expect(headers['accept-encoding']).toMatch(/^identity(?:, identity)?$/);
      expect(headers.authorization).toBe('Bearer secret');
    }
  });

  it('goes on after the last good byte when an answer is cut', async () => {
    onGets(1, (_request, response) => {
      response.writeHead(206, {
        'content-range': 'bytes 100000-299999/300000',
        'content-length': 200_000,
      });
      response.write(bytes.subarray(100_000, 150_000), () => response.destroy());
      return true;
    });
    await expectRead();
    expect(pauses).toEqual([250]);
    const [, second] = ranges();
    const from = Number(/^bytes=(\d+)-299999$/.exec(second ?? '')?.[1]);
    expect(from).toBeGreaterThanOrEqual(100_000);
    expect(from).toBeLessThanOrEqual(150_000);
  });

  it('asks for the rest when a server sends less than asked for', async () => {
    onGets(1, (_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 100000-119999/300000' });
      response.end(bytes.subarray(100_000, 120_000));
      return true;
    });
    await expectRead();
    expect(ranges()).toEqual(['bytes=100000-299999', 'bytes=120000-299999']);
  });

  it('waits as the server asks on 503, and with growing pauses otherwise', async () => {
    let count = 0;
    onGets(3, (_request, response) => {
      count++;
      response.writeHead(count === 1 ? 503 : 500, count === 1 ? { 'retry-after': '3' } : {}).end();
      return true;
    });
    await expectRead();
    expect(pauses).toEqual([3000, 500, 1000]);
  });

  it('gives up after six failures in a row, naming what failed', async () => {
    onGets(100, (_request, response) => {
      response.writeHead(503).end();
      return true;
    });
    const error = await fault();
    expect(error.code).toBe('weights_unavailable');
    expect(error.message).toContain('/m: w');
    expect(error.message).toContain('503, after 6 attempts');
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000]);
  });

  it('retries the head as well', async () => {
    let count = 0;
    server.intercept = (request, response) => {
      if (request.method !== 'HEAD' || count++ > 0) return false;
      response.writeHead(503).end();
      return true;
    };
    expect((await open().head('w'))?.sizeBytes).toBe(300_000);
  });

  it('gives a silent transfer up and starts it anew', async () => {
    const cut = signalling();
    onGets(1, (_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 100000-299999/300000' });
      response.once('close', cut.fire);
      response.write(bytes.subarray(100_000, 100_010));
      return true;
    });
    const reading = expectRead();
    // The watchdog notes progress at its first looks and fires at the first look without any.
    let fired = 0;
    const timer = setInterval(() => {
      const stall = stalls[fired];
      if (stall !== undefined && gets().length === 1) {
        fired++;
        stall();
      }
    }, 20);
    await cut.fired;
    clearInterval(timer);
    await reading;
    expect(pauses.length).toBe(1);
    expect(gets().length).toBe(2);
  });

  it('refuses another range than asked for', async () => {
    onGets(1, (_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-199999/300000' });
      response.end(bytes.subarray(0, 200_000));
      return true;
    });
    expect((await fault()).message).toContain('answered 206 with bytes 0-199999/300000');
  });

  it('refuses more bytes than asked for', async () => {
    onGets(1, (_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 100000-299999/300000' });
      response.end(bytes);
      return true;
    });
    expect((await fault()).message).toContain('more than asked for');
  });

  it('says so when a server ignores ranges, but takes a whole object from it', async () => {
    onGets(2, (_request, response) => {
      response.end(bytes);
      return true;
    });
    expect((await fault()).message).toContain('ignores range requests');
    const whole = new Uint8Array(bytes.length);
    await open().read('w', 0, whole);
    expect(Buffer.from(whole).equals(bytes)).toBe(true);
  });

  it('notices a changed object even when the server ignores If-Match', async () => {
    const source = open();
    await source.head('w');
    onGets(1, (_request, response) => {
      response.writeHead(206, {
        etag: '"other"',
        'content-range': 'bytes 100000-299999/300000',
      });
      response.end(bytes.subarray(100_000));
      return true;
    });
    expect((await fault(source)).message).toContain('changed while it was read');
  });

  it('explains a refusal without showing the token', async () => {
    server.intercept = (_request, response) => {
      response.writeHead(403).end();
      return true;
    };
    const { message } = await fault(open({ token: 'top-secret' }));
    expect(message).toContain('refused w with status 403: check the token');
    expect(message).not.toContain('top-secret');
  });

  it('keeps the token from other hosts and asks them directly the next time', async () => {
    const cdn = await startObjectServer();
    cdn.objects.set('/blob', bytes);
    server.intercept = (_request, response) => {
      response.writeHead(302, { location: `${cdn.origin}/blob?signature=abc` }).end();
      return true;
    };
    try {
      const source = open({ token: 'secret' });
      await expectRead(source);
      await expectRead(source);
      expect(cdn.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET', 'GET']);
      expect(cdn.requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
      expect(server.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET']);
      expect(
        server.requests.every(({ headers }) => headers.authorization === 'Bearer secret'),
      ).toBe(true);
      // The signed address runs out: the next read asks for a new one.
      cdn.intercept = ({ url }, response) => {
        if (url?.includes('abc') !== true) return false;
        response.writeHead(403).end();
        return true;
      };
      server.intercept = (_request, response) => {
        response.writeHead(302, { location: `${cdn.origin}/blob?signature=new` }).end();
        return true;
      };
      await expectRead(source);
      expect(cdn.requests.at(-1)?.url).toBe('/blob?signature=new');
    } finally {
      await cdn.close();
    }
  });

  it('does not follow redirects forever, nor away from the web', async () => {
    server.intercept = (_request, response) => {
      response.writeHead(302, { location: '/m/again' }).end();
      return true;
    };
    expect((await fault()).message).toContain('redirects too often');
    server.intercept = (_request, response) => {
      response.writeHead(302, { location: 'file:///etc/passwd' }).end();
      return true;
    };
    expect((await fault()).message).toContain('redirects to file:');
  });

  it('stops a running transfer on abort', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const cut = signalling();
    onGets(1, (_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-99999/300000' });
      response.write(bytes.subarray(0, 10));
      response.once('close', cut.fire);
      controller.abort(reason);
      return true;
    });
    const reading = open().read('w', 0, new Uint8Array(100_000), controller.signal);
    await expect(reading).rejects.toBe(reason);
    await cut.fired;
  });

  it('stops running transfers when it is closed', async () => {
    const source = open();
    onGets(1, (_request, response) => {
      response.writeHead(206, { 'content-range': 'bytes 0-99999/300000' });
      response.write(bytes.subarray(0, 10));
      void source.close();
      return true;
    });
    await expect(source.read('w', 0, new Uint8Array(100_000))).rejects.toThrow('is closed');
  });
});
