import { describe, expect, it } from 'vitest';
import { quantizeInt4, quantizeInt8 } from '../../src/weights/quantize.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

const BLOCK = 32;

describe.each([
  { bits: 8, levels: 127 },
  { bits: 4, levels: 7 },
])('rounding to $bits bits', ({ bits, levels }) => {
  const blocks = 5;
  const quantize = bits === 8 ? quantizeInt8 : quantizeInt4;
  const run = (row: Float32Array): { values: number[]; scales: Float32Array } => {
    const packed = new Uint8Array((row.length * bits) / 8);
    const scales = new Float32Array(blocks);
    quantize(row, packed, scales, BLOCK);
    const values = Array.from(row, (_, k) => {
      const scale = scales[Math.floor(k / BLOCK)] as number;
      const byte = packed[bits === 8 ? k : k >> 1] as number;
      const level = bits === 8 ? byte - 128 : ((byte >> (k % 2 === 0 ? 0 : 4)) & 15) - 8;
      return level * scale;
    });
    return { values, scales };
  };

  it('keeps every value within half a step of its block', () => {
    const random = createSeededRandom(1);
    const row = Float32Array.from(
      { length: blocks * BLOCK },
      (_, k) => (random.next() - 0.5) * 10 ** (k >> 5),
    );
    const { values, scales } = run(row);
    for (const [k, value] of values.entries()) {
      const step = scales[Math.floor(k / BLOCK)] as number;
      expect(Math.abs(value - (row[k] as number))).toBeLessThanOrEqual(step * 0.5001);
    }
  });

  it('keeps what lies on the grid, and blocks of zeros', () => {
    const row = new Float32Array(blocks * BLOCK);
    for (let k = 0; k < BLOCK; k++) row[k] = 0.25 * ((k % (2 * levels + 1)) - levels);
    row[BLOCK - 1] = 0.25 * levels;
    row[0] = -0.25 * levels;
    const { values } = run(row);
    expect(values.map((v) => v + 0)).toEqual(Array.from(row, (v) => v + 0));
  });
});
