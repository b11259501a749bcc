import { describe, expect, it } from 'vitest';
import { embeddingScale } from '../../src/model/embedding-scale.ts';

describe('embeddingScale', () => {
  it.each([
    [640, 25.25, 25.2982],
    [1152, 34, 33.9411],
    [2560, 50.5, 50.5964],
    [3840, 62, 61.9677],
    [5376, 73.5, 73.3212],
  ])('of %i is %f in bfloat16 and %f unrounded', (hidden, rounded, exact) => {
    expect(embeddingScale(hidden, 'bfloat16')).toBe(rounded);
    expect(embeddingScale(hidden, 'float32')).toBeCloseTo(exact, 4);
  });

  it('rounds ties to even', () => {
    // 64.25 and 64.75 lie halfway between bfloat16 neighbours (steps of 0.5 above 64).
    expect(embeddingScale(64.25 ** 2, 'bfloat16')).toBe(64);
    expect(embeddingScale(64.75 ** 2, 'bfloat16')).toBe(65);
  });
});
