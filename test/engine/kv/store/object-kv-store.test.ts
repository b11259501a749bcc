import { describe, expect, it } from 'vitest';
import { createObjectKvStore } from '../../../../src/engine/kv/store/object-kv-store.ts';
import type { KvPage } from '../../../../src/engine/backend.ts';
import { memoryStore } from '../../../support/memory-store.ts';

const PAGE = 4;
const BYTES = { global: 8, local: 8 };
const NOTHING = { pages: [], choice: null, length: 0 };

function pageAt(start: number, count: number): KvPage {
  const fill = (salt: number): Uint8Array =>
    Uint8Array.from({ length: count * 8 }, (_, at) => (start * 31 + at * 7 + salt) & 255);
  return { start, count, global: fill(0), localStart: start, local: fill(9) };
}

/** Deadlines that never come. */
function untilAborted(_: number, signal?: AbortSignal): Promise<void> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

function open(alwaysRestores: boolean, now: () => number = () => 0) {
  const store = memoryStore();
  const kv = createObjectKvStore({
    store,
    fingerprint: 'model',
    kvTokenBytes: BYTES,
    windowTokens: 3,
    tokensPerImage: 0,
    pageTokens: PAGE,
    clock: { now, sleep: untilAborted },
    instance: 'test',
    alwaysRestores,
  });
  return { store, kv };
}

const contentOf = (scope: string, length: number) => ({
  scope,
  words: Int32Array.from({ length }, (_, at) => at + 1),
  images: [],
});

describe('pages in an object store', () => {
  it('come back to whom they belong, and go when they are forgotten', async () => {
    const { store, kv } = open(true);
    const content = contentOf('a', 10);
    kv.keep(content, [pageAt(0, 4), pageAt(4, 4), pageAt(8, 2)]);
    expect(kv.stats().queuedBytes).toBeGreaterThan(0);
    await kv.flush();
    expect(kv.stats()).toMatchObject({ queuedBytes: 0, writtenPages: 3 });
    expect(kv.stored(content.words)).toMatchObject({ storeTokens: 10 });
    const longer = contentOf('a', 14);
    const { pages } = await kv.fetch(longer, 0, 12, null);
    expect(pages.map(({ start, count }) => [start, count])).toEqual([
      [0, 4],
      [4, 4],
      [8, 2],
    ]);
    expect(pages[2]).toEqual(pageAt(8, 2));
    expect(await kv.fetch(contentOf('b', 14), 0, 12, null)).toEqual(NOTHING);

    // What a fork shares stays.
    const fork = { ...content, words: Int32Array.of(1, 2, 3, 4, 99) };
    await kv.forget(content, [fork]);
    const left = [...store.objects.keys()].filter((key) => key.startsWith('kv/'));
    expect(left).toHaveLength(1);
    expect((await kv.fetch(longer, 0, 12, null)).pages).toHaveLength(1);
    await kv.close();
  });

  it('are left where computing again is faster, once that is known', async () => {
    let nowMs = 0;
    // Every look at the clock is 2 ms later: a store that takes time.
    const { kv } = open(false, () => (nowMs += 2));
    const content = contentOf('a', 8);
    kv.keep(content, [pageAt(0, 4), pageAt(4, 4)]);
    await kv.flush();
    // Nothing is known: restoring is how the rate becomes known.
    const first = await kv.fetch(contentOf('a', 12), 0, 10, null);
    expect(first).toMatchObject({ choice: 'restore', length: 8 });
    expect(first.pages).toHaveLength(2);
    expect(await kv.fetch(contentOf('a', 12), 0, 10, 1e6)).toEqual({
      pages: [],
      choice: 'recompute',
      length: 8,
    });
    expect(kv.stats().decisions).toEqual({ restore: 1, recompute: 1 });
    // A device so slow that the store is worth its wait.
    expect((await kv.fetch(contentOf('a', 12), 0, 10, 0.1)).pages).toHaveLength(2);
    await kv.close();
  });

  it('are not waited for longer than computing takes', async () => {
    const store = memoryStore();
    store.head = () => new Promise(() => undefined);
    const sleeps: number[] = [];
    const kv = createObjectKvStore({
      store,
      fingerprint: 'model',
      kvTokenBytes: BYTES,
      windowTokens: 3,
      tokensPerImage: 0,
      pageTokens: PAGE,
      clock: {
        now: () => 0,
        sleep: async (ms) => void sleeps.push(ms),
      },
      instance: 'test',
    });
    expect(await kv.fetch(contentOf('a', 2000), 0, 2000, 100)).toEqual(NOTHING);
    expect(await kv.fetch(contentOf('a', 2000), 0, 2000, 1e6)).toEqual(NOTHING);
    // Part of 20 s to compute it, and part of the least patience.
    expect(sleeps).toEqual([6000, 150]);
  });

  it('that are stored as int8 wait in the memory that they take before', async () => {
    const store = memoryStore();
    const kv = createObjectKvStore({
      store,
      fingerprint: 'model',
      kvTokenBytes: { global: 1024, local: 1024 },
      int8HeadDim: 256,
      windowTokens: 3,
      tokensPerImage: 0,
      pageTokens: PAGE,
      clock: { now: () => 0, sleep: untilAborted },
      instance: 'test',
      // Of three pages of 8192 bytes two may wait, though their objects have less than 2500.
      maxQueueBytes: 20_000,
    });
    const pages = [0, 4, 8].map((start) => ({
      start,
      count: 4,
      global: new Uint8Array(4096),
      localStart: start,
      local: new Uint8Array(4096),
    }));
    const content = contentOf('a', 12);
    kv.keep(content, pages);
    await kv.flush();
    expect(kv.stats()).toMatchObject({ writtenPages: 2, droppedPages: 1, queuedBytes: 0 });
    const objects = [...store.objects.entries()].filter(([key]) => key.startsWith('kv/'));
    expect(objects.map(([, { length }]) => length)).toEqual([2336, 2336]);
    expect(kv.stored(content.words).storeBytes).toBe(3 * 2336);
    await kv.close();
  });
});
