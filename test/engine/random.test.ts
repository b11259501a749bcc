import { describe, expect, it } from 'vitest';
import { philox4x32, uniformAt } from '../../src/engine/random.ts';

describe('counter-based random numbers', () => {
  it('gives the known answers of Philox4x32-10', () => {
    // From kat_vectors of the Random123 distribution (D. E. Shaw Research).
    const cases = [
      [
        [0, 0, 0, 0],
        [0, 0],
        [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
      ],
      [
        [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
        [0xffffffff, 0xffffffff],
        [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
      ],
      [
        [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
        [0xa4093822, 0x299f31d0],
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
      ],
    ] as const;
    for (const [counter, [key0, key1], expected] of cases) {
      const words = Uint32Array.from(counter);
      philox4x32(words, key0, key1);
      expect(Array.from(words)).toEqual(expected);
    }
  });

  it('maps to [0, 1), evenly and differently for each seed and index', () => {
    const buckets = Array.from({ length: 16 }, () => 0);
    const seen = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      for (let index = 0; index < 400; index++) {
        const value = uniformAt(seed, index);
        expect(value >= 0 && value < 1).toBe(true);
        const bucket = Math.floor(value * 16);
        buckets[bucket] = (buckets[bucket] ?? 0) + 1;
        seen.add(value);
      }
    }
    expect(seen.size).toBe(16_000);
    let chiSquare = 0;
    for (const count of buckets) chiSquare += (count - 1000) ** 2 / 1000;
    // 15 degrees of freedom: 37.7 is the 0.1 % point.
    expect(chiSquare).toBeLessThan(37.7);
  });

  it('takes the seed as an unsigned 32-bit number', () => {
    expect(uniformAt(2 ** 32 - 1, 3)).toBe(uniformAt(-1, 3));
    expect(uniformAt(0, 3)).not.toBe(uniformAt(1, 3));
  });
});
