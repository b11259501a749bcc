import { describe, expect, it } from 'vitest';
import { roundToBfloat16 } from '../../../src/bundle/grid.ts';
import { recoverFloatGroup } from '../../../src/flax/int4/recover-grid.ts';
import { forSeeds, type SeededRandom } from '../../support/seeded-random.ts';

function recover(values: ArrayLike<number>): { scale: number; nibbles: Uint8Array } {
  const nibbles = new Uint8Array(34).fill(99);
  const padded = new Float32Array(33);
  padded.set(Array.from(values), 1);
  const scale = recoverFloatGroup(padded, 1, nibbles, 1);
  expect([nibbles[0], nibbles[33]]).toEqual([99, 99]);
  return { scale, nibbles: nibbles.subarray(1, 33) };
}

function steps(random: SeededRandom): number[] {
  const most = random.pick([1, 2, 3, 4, 5, 6, 7, 8]);
  return Array.from({ length: 32 }, () => random.integer(-most, Math.min(7, most)));
}

describe('the int4 grid of fp32 weights', () => {
  it('with a bfloat16 scale comes back without any loss', async () => {
    await forSeeds(3000, (random) => {
      const scale = roundToBfloat16(Math.fround(2 ** random.integer(-14, 3) * (1 + random.next())));
      const values = steps(random).map((step) => Math.fround(step * scale));
      const { scale: found, nibbles } = recover(values);
      expect(Array.from(nibbles, (nibble) => (nibble - 8) * found + 0)).toEqual(
        values.map((v) => v + 0),
      );
    });
  });

  it('with any scale keeps its steps, and its scale as near as bfloat16 comes', async () => {
    await forSeeds(3000, (random) => {
      const scale = Math.fround(2 ** random.integer(-14, 3) * (1 + random.next()));
      const grid = steps(random);
      // As training computes it: in fp32, by either of two ways.
      const values = random.chance(0.5)
        ? grid.map((step) => Math.fround(step * scale))
        : grid.map((step) => Math.fround(step / Math.fround(1 / scale)));
      const { scale: found, nibbles } = recover(values);
      const largest = Math.max(...values.map(Math.abs));
      const errors = values.map((value, i) => Math.abs(((nibbles[i] ?? 0) - 8) * found - value));
      expect(Math.max(...errors)).toBeLessThanOrEqual(largest * 2 ** -8 * 1.01);
      expect(roundToBfloat16(found)).toBe(found);
    });
  });

  it('is the coarsest that fits, as in the published conversions', () => {
    const scale = Math.fround(0.01234567);
    const even = Array.from({ length: 32 }, (_, i) => Math.fround(2 * ((i % 7) - 3) * scale));
    const { scale: found, nibbles } = recover(even);
    expect(found).toBe(roundToBfloat16(Math.fround(2 * scale)));
    expect(Math.max(...nibbles)).toBe(11);
  });

  it('of zeros has scale 0', () => {
    const { scale, nibbles } = recover(new Float32Array(32));
    expect([scale, ...new Set(nibbles)]).toEqual([0, 8]);
  });

  it('is not seen where values lie between, are no numbers, need a ninth step or are dwarfed', () => {
    const between = Array.from({ length: 32 }, (_, i) => Math.fround(i * 0.01));
    expect(recover(between).scale).toBe(-1);
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const at of [0, 31]) {
        const values = Array.from({ length: 32 }, (_, i) => (i === at ? odd : 0));
        expect(recover(values).scale).toBe(-1);
      }
    }
    const dwarfed = Array.from({ length: 32 }, (_, i) => (i === 9 ? 0.1 * 2 ** 64 : 0.1 * (i % 5)));
    expect(recover(dwarfed).scale).toBe(-1);
    expect(recover(dwarfed.map((value) => (value > 1 ? value : 0))).scale).toBeGreaterThan(0);
    const eight = Array.from({ length: 32 }, (_, i) =>
      Math.fround((i === 0 ? 8 : 3 - (i % 8)) * 0.3),
    );
    expect(recover(eight).scale).toBe(-1);
    expect(recover(eight.map((value) => -value)).scale).toBeGreaterThan(0);
  });
});
