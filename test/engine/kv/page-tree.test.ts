import { describe, expect, it } from 'vitest';
import type { KvPage } from '../../../src/engine/backend.ts';
import { createPageTree, restorableLength } from '../../../src/engine/kv/page-tree.ts';
import { forSeeds } from '../../support/seeded-random.ts';

const PAGE = 4;

/** A page whose bytes tell which content it was written for. */
function pageOf(words: Int32Array, start: number, end: number, localStart = start): KvPage {
  const bytes = new Uint8Array(words.slice(0, end).buffer.slice(start * 4));
  return {
    start,
    count: end - start,
    global: bytes,
    localStart,
    local: new Uint8Array((end - localStart) * 4),
  };
}

function insertAll(
  tree: ReturnType<typeof createPageTree>,
  scope: string,
  words: Int32Array,
): boolean {
  let isHeld = true;
  for (let start = 0; start < words.length; start += PAGE) {
    const end = Math.min(start + PAGE, words.length);
    isHeld = tree.insert(scope, words, pageOf(words, start, end));
  }
  return isHeld;
}

describe('page tree', () => {
  it('finds the longest start that it holds, also inside of a page', () => {
    const tree = createPageTree({ pageTokens: PAGE, budgetBytes: 1e6 });
    insertAll(tree, 'a', Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9));
    insertAll(tree, 'a', Int32Array.of(1, 2, 3, 4, 5, 60, 70, 80));
    const lengthOf = (...words: number[]): number =>
      tree.match('a', Int32Array.from(words), 100, false).length;
    expect(lengthOf(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)).toBe(9);
    expect(lengthOf(1, 2, 3, 4, 5, 60, 70, 8)).toBe(7);
    expect(lengthOf(1, 2, 9)).toBe(2);
    expect(lengthOf(9)).toBe(0);
    expect(tree.match('a', Int32Array.of(1, 2, 3, 4, 5), 3, false).length).toBe(3);
  });

  it('shows nothing of one scope to another', () => {
    const tree = createPageTree({ pageTokens: PAGE, budgetBytes: 1e6 });
    const words = Int32Array.of(1, 2, 3, 4, 5);
    insertAll(tree, 'a', words);
    expect(tree.match('b', words, 5, false).length).toBe(0);
    insertAll(tree, 'b', words);
    tree.clear('a');
    expect(tree.match('a', words, 5, false).length).toBe(0);
    expect(tree.match('b', words, 5, false).length).toBe(5);
  });

  it('lets a longer page take the place of its own beginning', () => {
    const tree = createPageTree({ pageTokens: PAGE, budgetBytes: 1e6 });
    insertAll(tree, 'a', Int32Array.of(1, 2));
    insertAll(tree, 'a', Int32Array.of(1, 2, 3));
    expect(tree.stats()).toMatchObject({ count: 1, bytes: 3 * 8 });
  });

  it('keeps to its budget, drops the oldest ends first and keeps whole paths', async () => {
    await forSeeds(300, (random) => {
      const budgetBytes = random.integer(0, 40) * 8;
      const tree = createPageTree({ pageTokens: PAGE, budgetBytes });
      for (let round = 0; round < 30; round++) {
        const scope = random.pick(['a', 'b']);
        const words = Int32Array.from({ length: random.integer(1, 18) }, () =>
          random.integer(1, 2),
        );
        const isHeld = insertAll(tree, scope, words);
        expect(tree.stats().bytes).toBeLessThanOrEqual(budgetBytes);
        const { nodes, length } = tree.match(scope, words, words.length, random.chance(0.5));
        if (isHeld) expect(length).toBe(words.length);
        let at = 0;
        for (const { page } of nodes) {
          expect(page.start).toBe(at);
          const shared = Math.min(page.count, length - at);
          // The bytes are those of this very content.
          expect(page.global.subarray(0, 4 * shared)).toEqual(
            pageOf(words, at, at + shared).global,
          );
          at += page.count;
        }
      }
      tree.clear();
      expect(tree.stats()).toMatchObject({ count: 0, bytes: 0 });
    });
  });

  it('restores only where the window before the cut is held on local layers', () => {
    const tree = createPageTree({ pageTokens: PAGE, budgetBytes: 1e6 });
    const words = Int32Array.from({ length: 16 }, (_, at) => at + 1);
    for (const [start, localStart] of [
      [0, 0],
      [4, 7],
      [8, 8],
      [12, 12],
    ] as const) {
      tree.insert('a', words, pageOf(words, start, start + PAGE, localStart));
    }
    const match = tree.match('a', words, 16, false);
    const at = (limit: number, window: number): number => restorableLength(match, limit, window);
    expect(at(16, 5)).toBe(16);
    expect(at(11, 5)).toBe(11);
    expect(at(10, 5)).toBe(4);
    expect(at(7, 5)).toBe(4);
    expect(at(3, 5)).toBe(3);
    expect(at(16, 10)).toBe(16);
    expect(at(15, 10)).toBe(4);
  });
});
