import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { KvPage } from '../../src/engine/backend.ts';
import { checkKvRead, checkKvWrite } from '../../src/engine/check-kv.ts';
import { forSeeds } from '../support/seeded-random.ts';

const WINDOW = 6;
const LIMITS = {
  config: fakeModelConfig({ windowTokens: WINDOW }),
  rowTokens: 100,
  kvTokenBytes: { global: 2, local: 3 },
  heldTokens: 10,
};

function page(start: number, count: number, localStart = start): KvPage {
  const global = new Uint8Array(count * 2);
  return {
    start,
    count,
    global,
    localStart,
    local: new Uint8Array((start + count - localStart) * 3),
  };
}

const check = (pages: readonly KvPage[], length: number, keep = 0): number =>
  checkKvWrite(pages, length, keep, LIMITS);

describe('checks of reads and writes', () => {
  it('finds where the local part begins that reaches the end', () => {
    expect(check([page(0, 8), page(8, 8)], 16)).toBe(0);
    expect(check([page(0, 8, 2), page(8, 8)], 16)).toBe(2);
    expect(check([page(0, 8, 8), page(8, 8)], 16)).toBe(8);
    expect(check([page(0, 8), page(8, 8, 10)], 16)).toBe(10);
    expect(check([page(0, 8, 1), page(8, 8, 14)], 8)).toBe(1);
  });

  it('wants the window before the length and no more of local layers', () => {
    expect(check([page(0, 20, 9)], 14)).toBe(9);
    expect(() => check([page(0, 20, 9)], 13)).toThrow('8 to 13');
    expect(() => check([page(0, 20, 16)], 16)).toThrow('11 to 16');
    // The first tokens see themselves only.
    expect(check([page(0, 3)], 1)).toBe(0);
    expect(check([], 0)).toBe(0);
  });

  it('agrees with a list of positions, whatever the pages', async () => {
    await forSeeds(400, (random) => {
      const pages: KvPage[] = [];
      const global = new Set<number>();
      const local = new Set<number>();
      let start = random.integer(0, 5);
      for (let left = random.integer(0, 4); left > 0; left--) {
        const count = random.integer(1, 9);
        const localStart = random.pick([start, start, start + random.integer(0, count)]);
        pages.push(page(start, count, localStart));
        for (let at = start; at < start + count; at++) global.add(at);
        for (let at = localStart; at < start + count; at++) local.add(at);
        start += count;
      }
      const length = random.integer(0, 30);
      const keep = random.integer(0, Math.min(length, LIMITS.heldTokens));
      const has = (set: ReadonlySet<number>, from: number): boolean => {
        for (let at = from; at < length; at++) if (!set.has(at)) return false;
        return true;
      };
      const windowStart = Math.max(0, length - WINDOW + 1);
      let from: number | null = null;
      try {
        from = check(pages, length, keep);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
      expect(from !== null).toBe(has(global, keep) && has(local, windowStart));
      if (from === null) return;
      expect(has(local, from)).toBe(true);
      expect(local.has(from - 1) && from < length).toBe(false);
    });
  });

  it('refuses reads outside the row', () => {
    checkKvRead(0, 10, 10);
    checkKvRead(9, 10, 10);
    for (const [from, to] of [
      [0, 11],
      [-1, 4],
      [4, 4],
      [5, 4],
      [0.5, 4],
      [0, Number.NaN],
    ] as const) {
      expect(() => checkKvRead(from, to, 10)).toThrow(RangeError);
    }
  });
});
