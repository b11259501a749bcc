import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Miniflare } from 'miniflare';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { R2BodyLike, R2BucketLike } from '../../../adapters/r2/r2-bucket.ts';
import { createR2Store } from '../../../adapters/r2/r2-store.ts';
import { describeObjectSource } from '../../contracts/object-source.ts';
import { describeObjectStore } from '../../contracts/object-store.ts';
import { createStallClock } from '../../support/stall-clock.ts';
import { rejectedBy, thrownBy } from '../../support/thrown-by.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** Writes, reads, lists and removes. */
const WORKER = `
import { createR2Store } from './adapters/r2/r2-store.ts';
export default {
  async fetch(_request, env) {
    const store = createR2Store({ bucket: env.MODELS, prefix: 'gemma' });
    await store.write('a/b', Uint8Array.of(1, 2, 3, 4), { ifAbsent: true });
    const again = await store.write('a/b', Uint8Array.of(9), { ifAbsent: true });
    const target = new Uint8Array(2);
    await store.read('a/b', 1, target);
    const keys = [];
    for await (const { key } of store.listPrefix('a')) keys.push(key);
    await store.remove('a/b');
    const gone = await store.head('a/b');
    return Response.json({ again, read: [...target], keys, gone });
  },
};
`;

let workerd: Miniflare;
let bucket: R2BucketLike;
beforeAll(async () => {
  workerd = new Miniflare({
    modules: true,
    script: 'export default {};',
    compatibilityDate: '2026-07-01',
    cf: false,
    r2Buckets: ['MODELS'],
  });
  bucket = (await workerd.getR2Bucket('MODELS')) as unknown as R2BucketLike;
});
afterAll(() => workerd.dispose());
beforeEach(async () => {
  for (const { key } of (await bucket.list({})).objects) await bucket.delete(key);
});

describeObjectSource('R2', async () => ({
  source: createR2Store({ bucket, prefix: 'gemma' }),
  async put(key, bytes) {
    await bucket.put(`gemma/${key}`, bytes, {});
  },
  dispose: async () => undefined,
}));

describeObjectStore('R2', async () => {
  await bucket.put('gemma-other/config.json', new Uint8Array(3), {});
  const open = () => createR2Store({ bucket, prefix: 'gemma/' });
  return { store: open(), open, dispose: async () => undefined };
});

describe('R2', () => {
  const bytes = Uint8Array.from({ length: 50_000 }, (_, i) => (i * 7) & 255);

  /** The first 10,000 bytes, then what `end` does. */
  const cutBody = (
    end: (controller: ReadableStreamDefaultController<Uint8Array>) => void,
  ): ReadableStream<Uint8Array> => {
    let isFirst = true;
    return new ReadableStream({
      pull(controller) {
        if (isFirst) controller.enqueue(bytes.slice(0, 10_000));
        else end(controller);
        isFirst = false;
      },
    });
  };

  it.each([
    ['breaks', (c: ReadableStreamDefaultController) => c.error(new Error('connection lost'))],
    ['ends early', (c: ReadableStreamDefaultController) => c.close()],
    ['falls silent', () => undefined],
  ])('goes on from the last good byte when a body %s', async (what, end) => {
    const clock = createStallClock();
    const store = createR2Store({
      bucket: spoilt((body) => {
        void body.cancel();
        if (what === 'falls silent') clock.impatientUntil = 1;
        return cutBody(end);
      }),
      clock,
    });
    await store.write('w', bytes);
    const target = new Uint8Array(bytes.length);
    await store.read('w', 0, target);
    expect(Buffer.from(target).equals(bytes)).toBe(true);
    expect(clock.pauses).toEqual([250]);
  });

  it('gives up when the binding keeps failing, naming what failed', async () => {
    const clock = createStallClock();
    const failing: R2BucketLike = {
      ...spoilt((body) => body),
      head: () => Promise.reject(new Error('internal error (10001)')),
    };
    const store = createR2Store({ bucket: failing, prefix: 'gemma', clock });
    const error = await rejectedBy(store.head('w'));
    expect(error.message).toContain('r2:gemma: w');
    expect(error.message).toContain('after 6 attempts');
  });

  it('knows an object that must be absent for its own when the answer was lost', async () => {
    let isFirst = true;
    const lossy: R2BucketLike = {
      ...spoilt((body) => body),
      async put(key, value, options) {
        const made = await bucket.put(key, value, options);
        if (!isFirst) return made;
        isFirst = false;
        throw new Error('connection lost');
      },
    };
    const store = createR2Store({ bucket: lossy, clock: createStallClock() });
    const written = await store.write('w', bytes, { ifAbsent: true });
    expect(written?.sizeBytes).toBe(bytes.length);
    isFirst = true;
    expect(await store.write('w', bytes, { ifAbsent: true })).toBeNull();
  });

  it('ends at once on an abort, even in a body that is silent', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    const store = createR2Store({
      bucket: spoilt((body) => {
        void body.cancel();
        return cutBody(() => controller.abort(reason));
      }),
    });
    await store.write('w', bytes);
    const reading = store.read('w', 0, new Uint8Array(bytes.length), controller.signal);
    await expect(reading).rejects.toBe(reason);
  });

  it('runs in a Worker, on the binding itself', async () => {
    const bundle = await build({
      stdin: { contents: WORKER, resolveDir: ROOT, loader: 'ts' },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'neutral',
    });
    const worker = new Miniflare({
      modules: true,
      script: bundle.outputFiles[0]?.text ?? '',
      compatibilityDate: '2026-07-01',
      cf: false,
      r2Buckets: ['MODELS'],
    });
    try {
      const response = await worker.dispatchFetch('http://edge/');
      expect(await response.json()).toEqual({
        again: null,
        read: [2, 3],
        keys: ['a/b'],
        gone: null,
      });
    } finally {
      await worker.dispose();
    }
  });

  it('refuses a prefix that is no folder', () => {
    expect(thrownBy(() => createR2Store({ bucket, prefix: '../a' })).code).toBe(
      'invalid_checkpoint',
    );
  });
});

/** The bucket, its first body spoilt. */
function spoilt(
  spoil: (body: ReadableStream<Uint8Array>) => ReadableStream<Uint8Array>,
): R2BucketLike {
  let left = 1;
  return {
    head: (key) => bucket.head(key),
    put: (key, value, options) => bucket.put(key, value, options),
    list: (options) => bucket.list(options),
    delete: (key) => bucket.delete(key),
    async get(key, options) {
      const found = await bucket.get(key, options);
      if (left-- <= 0 || found === null) return found;
      const { key: name, size, etag, body } = found as R2BodyLike;
      return { key: name, size, etag, body: spoil(body) };
    },
  };
}
