import { describe, expect, it } from 'vitest';
import { GRID_GROUP, recoverGroup, roundToBfloat16 } from '../../src/bundle/grid.ts';
import { forSeeds } from '../support/seeded-random.ts';

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
