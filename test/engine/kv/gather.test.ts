import { describe, expect, it } from 'vitest';
import { gather } from '../../../src/engine/kv/gather.ts';
import { forSeeds } from '../../support/seeded-random.ts';

describe('gathering of running rows', () => {
  it('leaves neighbours alone', () => {
    expect(gather(8, [4, 2, 3])).toEqual({ gaps: 0, swaps: [] });
    expect(gather(8, [])).toEqual({ gaps: 0, swaps: [] });
  });

  it('brings rows together by moving the fewest', async () => {
    await forSeeds(500, (random) => {
      const rowCount = random.integer(1, 12);
      const running = Array.from({ length: rowCount }, (_, row) => row).filter(() =>
        random.chance(0.5),
      );
      const { gaps, swaps } = gather(rowCount, running);
      const after = new Set(running);
      for (const { a, b } of swaps) {
        expect(after.has(a)).toBe(true);
        expect(after.has(b)).toBe(false);
        after.delete(a);
        after.add(b);
      }
      expect(after.size).toBe(running.length);
      expect(gather(rowCount, [...after]).gaps).toBe(0);
      expect(swaps.length).toBeLessThanOrEqual(gaps);
    });
  });
});
