import { describe, expect, it } from 'vitest';
import { compareLogits, median, quantile } from '../../infra/bench/stats.ts';

describe('quantile', () => {
  it('interpolates between neighbours, whatever the order', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([4, 1, 2, 3], 0.25)).toBe(1.75);
    expect(quantile([7], 0.75)).toBe(7);
  });
});

describe('compareLogits', () => {
  it('finds shifted logits equal, as probabilities are', () => {
    const agreement = compareLogits(Float32Array.of(1, 2, 4), Float32Array.of(11, 12, 14));
    expect(agreement.sameTop).toBe(true);
    expect(agreement.correlation).toBeCloseTo(1, 12);
    expect(agreement.meanDifference).toBeCloseTo(0, 6);
  });

  it('reports another top token and the difference in nats', () => {
    const a = Float32Array.of(Math.log(0.75), Math.log(0.25));
    const b = Float32Array.of(Math.log(0.25), Math.log(0.75));
    const agreement = compareLogits(a, b);
    expect(agreement.sameTop).toBe(false);
    expect(agreement.correlation).toBeCloseTo(-1, 6);
    expect(agreement.meanDifference).toBeCloseTo(Math.log(3), 6);
  });

  it('refuses vocabularies of different size', () => {
    expect(() => compareLogits(new Float32Array(2), new Float32Array(3))).toThrow(RangeError);
  });
});
