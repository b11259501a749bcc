import { describe, expect, it } from 'vitest';
import { expOfNegative, ROUGH_ERROR, ROUGH_STEPS, roughExp } from '../../src/engine/exp.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

describe('exp for softmax sums', () => {
  it('agrees with Math.exp to the last digits over the whole range', () => {
    const random = createSeededRandom(1);
    let worst = 0;
    for (let count = 0; count < 200_000; count++) {
      const x = -(random.next() ** 3) * 708;
      worst = Math.max(worst, Math.abs(expOfNegative(x) / Math.exp(x) - 1));
    }
    expect(worst).toBeLessThan(1e-15);
  });

  it('is exact at 0 and 0 where nothing is left', () => {
    expect(expOfNegative(0)).toBe(1);
    expect(expOfNegative(-0)).toBe(1);
    for (const x of [-708.1, -1e9, Number.NEGATIVE_INFINITY, Number.NaN]) {
      expect(expOfNegative(x)).toBe(0);
    }
    expect(expOfNegative(-708)).toBeGreaterThan(0);
  });

  it('has a rough form whose error is below what it promises, and nothing beyond e^-64', () => {
    const random = createSeededRandom(2);
    let worst = 0;
    for (let count = 0; count < 200_000; count++) {
      const x = random.next() * 63.99;
      worst = Math.max(worst, Math.abs(roughExp(x * ROUGH_STEPS) / Math.exp(-x) - 1));
    }
    expect(worst).toBeLessThan(ROUGH_ERROR);
    expect(roughExp(0)).toBeCloseTo(1, 9);
    for (const x of [64, 1e300, Number.POSITIVE_INFINITY, Number.NaN]) {
      expect(roughExp(x * ROUGH_STEPS)).toBe(0);
    }
  });
});
