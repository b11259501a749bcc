import { describe, expect, it } from 'vitest';
import type { KvContent } from '../../../../src/engine/kv/kv-store.ts';
import { PAGE_HEADER_BYTES } from '../../../../src/engine/kv/store/page-codec.ts';
import type { PageName } from '../../../../src/engine/kv/store/page-names.ts';
import type { PageRequest } from '../../../../src/engine/kv/store/page-reader.ts';
import { faultyStore } from '../../../support/faulty-store.ts';
import {
  contentWith,
  createPageHarness,
  KV_BYTES,
  pageOf,
  type PageHarness,
} from '../../../support/page-harness.ts';
import { createSeededRandom, forSeeds, type SeededRandom } from '../../../support/seeded-random.ts';

const HASHES = ['3'.repeat(64), `${'3'.repeat(63)}4`];
const IMAGE_TOKENS = 3;
const SEARCHED_PLACES = 8;

/** Few different words, images and scopes, so that contents share starts. */
function randomContent(random: SeededRandom, from?: KvContent): KvContent {
  const keep = from === undefined ? 0 : random.integer(0, from.words.length);
  const words = [...(from?.words.slice(0, keep) ?? [])];
  const images = (from?.images ?? []).filter(({ position }) => position < keep);
  for (let left = random.integer(1, 20); left > 0; left--) words.push(random.integer(1, 2));
  if (random.chance(0.5)) {
    images.push({ position: words.length, sha256: random.pick(HASHES) });
    for (let left = IMAGE_TOKENS; left > 0; left--) words.push(-7);
    for (let left = random.integer(0, 9); left > 0; left--) words.push(random.integer(1, 2));
  }
  return contentWith(words, from?.scope ?? random.pick(['a', 'b']), images);
}

function damage(random: SeededRandom, bytes: Uint8Array): Uint8Array | null {
  const copy = bytes.slice();
  const at = random.integer(0, bytes.length - 1);
  switch (random.integer(0, 2)) {
    case 0:
      return null;
    case 1:
      return copy.subarray(0, at);
    default:
      copy[at] = (copy[at] ?? 0) ^ (1 << random.integer(0, 7));
      return copy;
  }
}

const startsWith = (bytes: Uint8Array | undefined, start: Uint8Array): boolean =>
  bytes !== undefined && start.every((byte, index) => bytes[index] === byte);

/** Looks at every chain and every length: the truth, slowly. */
async function longestLength(
  harness: PageHarness,
  written: ReadonlyMap<string, Uint8Array>,
  request: PageRequest,
  { pageTokens, windowTokens }: { readonly pageTokens: number; readonly windowTokens: number },
): Promise<number> {
  const { content, from, limit, cut = (length: number): number => length } = request;
  const all = content.words.length;
  let best = from;

  /** Of a page: null when its global part is lost, else positions whose local part is whole. */
  function localOf({ key, count, start }: PageName): readonly number[] | null {
    const original = written.get(key);
    const now = harness.store.objects.get(key);
    if (original === undefined) return null;
    const headBytes = PAGE_HEADER_BYTES + count * KV_BYTES.global;
    if (!startsWith(now, original.subarray(0, headBytes))) return null;
    if (!startsWith(now, original)) return [];
    const held = (original.length - headBytes) / KV_BYTES.local;
    return Array.from({ length: held }, (_, index) => start + count - held + index);
  }

  function consider(locals: ReadonlySet<number>, end: number): void {
    const heldFrom = Math.max(0, from - windowTokens + 1);
    for (let length = Math.min(end, limit); length > best; length--) {
      let isHeld = cut(length) === length;
      for (let at = Math.max(0, length - windowTokens + 1); at < length; at++) {
        isHeld &&= at < from ? at >= heldFrom : locals.has(at);
      }
      if (isHeld) best = length;
    }
  }

  const locals = new Set<number>();
  for (let start = from; start < all; start += pageTokens) {
    for (let count = 1; count < pageTokens && start + count <= all; count++) {
      const partial = (await harness.namesOf(content, start + count)).at(-1);
      const held = partial === undefined ? null : localOf(partial);
      if (held !== null) consider(new Set([...locals, ...held]), start + count);
    }
    if (start + pageTokens > all) break;
    const full = (await harness.namesOf(content, start + pageTokens)).at(-1);
    const held = full === undefined ? null : localOf(full);
    if (held === null) break;
    for (const at of held) locals.add(at);
    consider(locals, start + pageTokens);
  }
  return best;
}

describe('random pages in a store with faults', { timeout: 120_000 }, () => {
  it('come back to the byte, as long as the longest whole start', async () => {
    const met = { lengths: 0, refused: 0, shortened: 0 };
    await forSeeds(Number(process.env['SEEDS'] ?? 250), async (random, seed) => {
      const shape = { pageTokens: random.integer(2, 6), windowTokens: random.integer(2, 14) };
      const store = faultyStore(createSeededRandom(seed + 0.5));
      const harness = createPageHarness({ ...shape, store, inFlight: random.integer(1, 5) });
      const contents = [randomContent(random)];
      for (let left = random.integer(1, 5); left > 0; left--) {
        contents.push(
          randomContent(random, random.chance(0.8) ? random.pick(contents) : undefined),
        );
      }
      store.failingWrites = random.integer(0, 3);
      // By name, since the order of requests is not repeatable.
      const lost = random.chance(0.3) ? '3' : '/';
      store.isLost = (key): boolean => key.slice(-1) <= lost;
      for (const content of contents) {
        const hole = random.chance(0.3) ? random.integer(0, content.words.length) : 0;
        await harness.save(content, random.integer(1, content.words.length), (start, end) =>
          Math.min(end, Math.max(start, start < hole ? hole : 0)),
        );
      }
      store.isLost = (): boolean => false;
      const written = new Map([...store.objects].toSorted(([a], [b]) => (a < b ? -1 : 1)));
      const faults = random.pick([0, 0, 0.1, 0.3]);
      for (const [key, bytes] of written) {
        if (!random.chance(faults)) continue;
        const bad = damage(random, bytes);
        if (bad === null) store.objects.delete(key);
        else store.objects.set(key, bad);
      }
      for (const base of [...contents, randomContent(random, random.pick(contents))]) {
        const content = { ...base, scope: random.chance(0.1) ? 'c' : base.scope };
        const limit = random.integer(0, content.words.length);
        const from = Math.floor((random.pick([0, 0, 1]) * limit) / 2 / shape.pageTokens);
        const cut = (length: number): number => {
          const inside = content.images.find(
            ({ position }) => position < length && length < position + IMAGE_TOKENS,
          );
          return inside?.position ?? length;
        };
        const request = { content, from: from * shape.pageTokens, limit, cut };
        const found = await harness.reader.find(request);
        const { pages, length, refused } = await harness.reader.fetch(found);
        const longest = await longestLength(harness, written, request, shape);
        // In longer chains not every place is searched for a partial page.
        if (found.names.length <= SEARCHED_PLACES) expect(length).toBe(longest);
        else expect(length).toBeLessThanOrEqual(longest);
        let end = request.from;
        for (const page of pages) {
          expect(page.start).toBe(end);
          expect(page).toEqual(pageOf(content, page.start, page.count, page.localStart));
          end = page.start + page.count;
          const isNeeded = end > length - shape.windowTokens + 1;
          if (!isNeeded) continue;
          const windowStart = Math.max(page.start, length - shape.windowTokens + 1);
          if (shape.windowTokens > 1) expect(page.localStart).toBeLessThanOrEqual(windowStart);
        }
        if (length > request.from) expect(end).toBeGreaterThanOrEqual(length);
        met.lengths += length - request.from;
        met.refused += refused.length;
        if (length < found.length && length > request.from) met.shortened++;
      }
      expect(store.running).toBe(0);
    });
    expect(Math.min(...Object.values(met))).toBeGreaterThan(20);
  });
});
