import { describe, expect, it } from 'vitest';
import { createRandom } from '../../infra/bench/random.ts';
import { bf16ToFp16, fromBf16, randomWeights } from '../../infra/bench/random-weights.ts';
import type { WeightTensor } from '../../infra/bench/random-weights.ts';
import { shapeOf } from '../../infra/bench/shapes.ts';

const shape = shapeOf('mini');
const all = (seed: string): WeightTensor[] => [...randomWeights(shape, seed)];

function find<T extends WeightTensor['type']>(
  weights: readonly WeightTensor[],
  type: T,
): Extract<WeightTensor, { type: T }>[] {
  return weights.filter(
    (weight): weight is Extract<WeightTensor, { type: T }> => weight.type === type,
  );
}

function draw(seed: string): number[] {
  const words = new Uint32Array(8);
  createRandom(seed).draw(words);
  return [...words];
}

function countParameters(size: string): number {
  return [...randomWeights(shapeOf(size), '')].reduce((sum, weight) => {
    if (weight.type === 'linear') return sum + weight.outFeatures * weight.inFeatures;
    return sum + (weight.type === 'norm' ? weight.size : weight.rows * weight.columns);
  }, 0);
}

describe('createRandom', () => {
  it('repeats for the same seed and differs for another', () => {
    expect(draw('a')).toEqual(draw('a'));
    expect(draw('a')).not.toEqual(draw('b'));
  });

  it('goes on where the last fill ended', () => {
    const whole = new Uint32Array(10);
    createRandom('x').draw(whole);
    const random = createRandom('x');
    const parts = [new Uint32Array(3), new Uint32Array(7)];
    for (const part of parts) random.draw(part);
    expect(parts.flatMap((part) => [...part])).toEqual([...whole]);
  });

  it('sets every bit about half of the time', () => {
    const words = new Uint32Array(20_000);
    createRandom('bits').draw(words);
    for (let bit = 0; bit < 32; bit += 1) {
      const ones = words.reduce((sum, word) => sum + ((word >>> bit) & 1), 0);
      // Seven standard deviations.
      expect(Math.abs(ones - 10_000), `bit ${bit}`).toBeLessThan(500);
    }
  });
});

describe('randomWeights', () => {
  it('makes a tensor again alone, the same as in a whole pass', () => {
    const first = find(all('seed'), 'linear').map((tensor) => tensor.make());
    const last = find(all('seed'), 'linear').at(-1)?.make();
    expect(last).toEqual(first.at(-1));
    expect(last).not.toEqual(first[0]);
  });

  it('keeps nibbles symmetric around 8 and outputs near unit size', () => {
    for (const tensor of find(all('seed'), 'linear').slice(0, 7)) {
      const { words, scales } = tensor.make();
      const counts = new Uint32Array(16);
      for (const word of words) {
        for (let p = 0; p < 8; p += 1)
          counts[(word >>> (4 * p)) & 15] = (counts[(word >>> (4 * p)) & 15] ?? 0) + 1;
      }
      expect(counts[0]).toBe(0);
      let mean = 0;
      let square = 0;
      counts.forEach((count, nibble) => {
        mean += count * (nibble - 8);
        square += count * (nibble - 8) ** 2;
      });
      const total = words.length * 8;
      const meanSquareScale =
        scales.reduce((sum, bits) => sum + fromBf16(bits) ** 2, 0) / scales.length;
      expect(Math.abs(mean / total)).toBeLessThan(0.2);
      // A sum over inFeatures of unit inputs.
      const variance = (square / total) * meanSquareScale * tensor.inFeatures;
      expect(variance).toBeGreaterThan(0.8);
      expect(variance).toBeLessThan(1.4);
    }
  });

  it('has scales that fp16 holds exactly', () => {
    for (const tensor of find(all('seed'), 'linear')) {
      for (const bits of tensor.make().scales) {
        const fp16 = bf16ToFp16(bits);
        const value = (1 + (fp16 & 1023) / 1024) * 2 ** ((fp16 >> 10) - 15);
        if (value !== fromBf16(bits)) expect.fail(`${fromBf16(bits)} became ${value}`);
      }
    }
  });

  it('refuses to round a scale into fp16', () => {
    expect(() => bf16ToFp16(0x0001)).toThrow(RangeError);
    expect(() => bf16ToFp16(0x7f00)).toThrow(RangeError);
  });

  it('puts a 127 or -127 into each group of an embedding, so that int8 recovers the grid', () => {
    const [tensor] = find(all('seed'), 'embedding');
    const block = tensor?.make(0);
    expect(block?.rows).toBe(shape.vocabSize);
    for (let group = 0; group < (block?.exponents.length ?? 0); group += 1) {
      const values = block?.values.subarray(group * 32, group * 32 + 32) ?? new Int8Array();
      const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      if (largest !== 127) expect.fail(`group ${group} reaches ${largest}`);
    }
  });

  it('describes the real sizes with the parameter counts of the real models', () => {
    expect(countParameters('1b')).toBe(999_885_952);
    // 4B without its vision tower (416,866,032) and projector (1152 * 2560 + 1152).
    expect(countParameters('4b')).toBe(4_300_079_472 - 416_866_032 - 1152 * 2560 - 1152);
  });
});
