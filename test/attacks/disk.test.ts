import { describe, expect, it } from 'vitest';
import type { KvPage } from '../../src/engine/backend.ts';
import type { KvContent } from '../../src/engine/kv/kv-store.ts';
import { createObjectKvStore } from '../../src/engine/kv/store/object-kv-store.ts';
import { memoryStore, type MemoryStore } from '../support/memory-store.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

const PAGE_TOKENS = 256;
/** A tenth of the demo model's: 20 prompts leave 46 MB. */
const TOKEN_BYTES = { global: 200, local: 390 };
const PROMPT_TOKENS = 3900;
const MAX_BYTES = 5e6;

function pagesOf({ words }: KvContent): readonly KvPage[] {
  const pages: KvPage[] = [];
  for (let start = 0; start < words.length; start += PAGE_TOKENS) {
    const count = Math.min(PAGE_TOKENS, words.length - start);
    const global = new Uint8Array(count * TOKEN_BYTES.global).fill(words[start] ?? 0);
    const local = new Uint8Array(count * TOKEN_BYTES.local).fill(start);
    pages.push({ start, count, global, localStart: start, local });
  }
  return pages;
}

function openStore(store: MemoryStore, maxBytes: number) {
  return createObjectKvStore({
    store,
    fingerprint: 'model',
    kvTokenBytes: TOKEN_BYTES,
    windowTokens: 64,
    tokensPerImage: 0,
    pageTokens: PAGE_TOKENS,
    // Deadlines never come.
    clock: {
      now: () => 0,
      sleep: (_, signal) =>
        new Promise((_resolve, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        }),
    },
    instance: 'test',
    alwaysRestores: true,
    maxBytes,
  });
}

function storedBytes(store: MemoryStore): number {
  let bytes = 0;
  for (const { length } of store.objects.values()) bytes += length;
  return bytes;
}

function randomContent(seed: number, scope: string, length = PROMPT_TOKENS): KvContent {
  const random = createSeededRandom(seed);
  const words = Int32Array.from({ length }, () => random.integer(100, 1900));
  return { scope, words, images: [] };
}

describe('prompts of random ids', () => {
  it.each([
    ['one cache salt', () => 'greedy'],
    ['a new cache salt each', (index: number) => `greedy\0${index}`],
  ])('neither fill the store nor push out others, with %s', async (_, scopeOf) => {
    const store = memoryStore();
    const kv = openStore(store, MAX_BYTES);
    const theirs = randomContent(1, 'honest', 1000);
    kv.keep(theirs, pagesOf(theirs));
    await kv.flush();
    for (let index = 0; index < 20; index++) {
      const junk = randomContent(100 + index, scopeOf(index));
      kv.keep(junk, pagesOf(junk));
      await kv.flush();
      expect(storedBytes(store)).toBeLessThan(MAX_BYTES);
    }
    expect(storedBytes(store)).toBeGreaterThan(MAX_BYTES / 2);
    expect(kv.stats().evictedPages).toBeGreaterThan(100);
    const again = await openStore(store, MAX_BYTES).fetch(theirs, 0, 990, null);
    expect(again).toMatchObject({ choice: 'restore', length: 990 });
    await kv.close();
  });

  it('fill a store without a size, which is how one sees that they would', async () => {
    const store = memoryStore();
    const kv = openStore(store, Number.POSITIVE_INFINITY);
    for (let index = 0; index < 3; index++) {
      const junk = randomContent(100 + index, 'greedy');
      kv.keep(junk, pagesOf(junk));
    }
    await kv.flush();
    expect(storedBytes(store)).toBeGreaterThan(MAX_BYTES);
    await kv.close();
  });
});
