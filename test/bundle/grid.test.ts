import { describe, expect, it } from 'vitest';
import { GRID_GROUP, recoverGroup, roundToBfloat16 } from '../../src/bundle/grid.ts';
import { forSeeds } from '../support/seeded-random.ts';

/** `recoverGroup` written for reading: the same formula, without what makes it fast. */
function plainRecoverGroup(group: Float32Array, nibbles: Uint8Array): number | null {
  let largest = 0;
  for (const value of group) if (Math.abs(value) > Math.abs(largest)) largest = value;
  if (largest === 0) {
    nibbles.fill(0x88);
    return 0;
  }
  const most = largest < 0 ? 8 : 7;
  for (let steps = 1; steps <= most; steps++) {
    const scale = scaleFor(group, Math.abs(largest) / steps);
    if (scale !== null && fill(group, scale, nibbles)) return scale;
  }
  return null;
}

/** A scale near `guess` that all values agree on, if there is one. */
function scaleFor(group: Float32Array, guess: number): number | null {
  let low = 0;
  let high = Infinity;
  for (const value of group) {
    if (value === 0) continue;
    const step = Math.round(value / guess);
    if (step === 0 || step < -8 || step > 7) return null;
    const magnitude = Math.abs(value);
    const power = 2 ** Math.floor(Math.log2(magnitude));
    const half = power * 2 ** -8;
    // Below a power of two the steps of bfloat16 are half as wide.
    const halfBelow = magnitude === power ? half / 2 : half;
    low = Math.max(low, (magnitude - halfBelow) / Math.abs(step));
    high = Math.min(high, (magnitude + half) / Math.abs(step));
    if (low > high || Math.sign(step) !== Math.sign(value)) return null;
  }
  return simplestBetween(low, high);
}

/** Of the scales that fit, the one with the shortest mantissa: likely what it was. */
function simplestBetween(low: number, high: number): number {
  const middle = (low + high) / 2;
  const exponent = Math.floor(Math.log2(middle));
  for (let bits = 0; bits < 23; bits++) {
    const step = 2 ** (exponent - bits);
    const candidate = Math.round(middle / step) * step;
    if (candidate > low && candidate < high) return candidate;
  }
  return Math.fround(middle);
}

function fill(group: Float32Array, scale: number, nibbles: Uint8Array): boolean {
  for (let i = 0; i < group.length; i++) {
    const value = group[i] ?? 0;
    const step = Math.round(value / scale);
    if (step < -8 || step > 7) return false;
    if (roundToBfloat16(Math.fround(step * scale)) !== value) return false;
    const nibble = step + 8;
    if (i % 2 === 0) nibbles[i >> 1] = nibble;
    else nibbles[i >> 1] = (nibbles[i >> 1] ?? 0) | (nibble << 4);
  }
  return true;
}

describe('the int4 grid of an embedding table', () => {
  it('is found again from what bfloat16 keeps of it, to the bit', async () => {
    await forSeeds(3000, (random) => {
      const scale = Math.fround(2 ** random.integer(-12, 2) * (1 + random.next()));
      const most = random.pick([1, 2, 5, 8]);
      const group = Float32Array.from({ length: GRID_GROUP }, () =>
        roundToBfloat16(Math.fround(random.integer(-most, Math.min(most, 7)) * scale)),
      );
      const nibbles = new Uint8Array(GRID_GROUP / 2);
      const found = recoverGroup(group, nibbles);
      expect(found).not.toBeNull();
      for (let i = 0; i < GRID_GROUP; i++) {
        const byte = nibbles[i >> 1] ?? 0;
        const step = (i % 2 === 0 ? byte & 15 : byte >> 4) - 8;
        expect(roundToBfloat16(Math.fround(step * (found ?? 0)))).toBe(group[i]);
      }
    });
  });

  it('is what the plain formula finds, whatever the values', async () => {
    await forSeeds(4000, (random) => {
      const scale = Math.fround(2 ** random.integer(-140, 125) * (1 + random.next()));
      const odd = [Number.NaN, Infinity, -0, 1e-45, 2 ** -126, scale, -9 * scale, random.next()];
      const group = Float32Array.from({ length: GRID_GROUP }, () => random.integer(-8, 7) * scale);
      if (random.chance(0.7)) group.set(group.map((value) => roundToBfloat16(value)));
      if (random.chance(0.3)) group[random.integer(0, GRID_GROUP - 1)] = random.pick(odd);
      const [nibbles, plain] = [new Uint8Array(16), new Uint8Array(16)];
      const found = recoverGroup(group, nibbles);
      expect(found).toBe(plainRecoverGroup(group, plain));
      if (found !== null) expect(nibbles).toEqual(plain);
    });
  });

  it('is not seen where values lie between', () => {
    const group = Float32Array.from({ length: GRID_GROUP }, (_, i) =>
      roundToBfloat16(i / 17 - 0.9),
    );
    expect(recoverGroup(group, new Uint8Array(16))).toBeNull();
  });

  it('of zeros has scale 0', () => {
    const nibbles = new Uint8Array(16);
    expect(recoverGroup(new Float32Array(GRID_GROUP), nibbles)).toBe(0);
    expect([...nibbles]).toEqual(Array.from({ length: 16 }, () => 0x88));
  });
});
