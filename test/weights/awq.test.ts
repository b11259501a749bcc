import { describe, expect, it } from 'vitest';
import {
  isSymmetric,
  transposeNibbles,
  unpackScales,
  unpackZeroPoints,
} from '../../src/weights/awq.ts';
import { floatTensor, packAwq } from '../support/safetensors-writer.ts';

/** Seeded, so that a failure can be repeated. */
function randomNibbles(count: number, seed: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 28;
  });
}

const wordsOf = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.buffer);

describe('transposeNibbles', () => {
  it('puts columns 0 to 7 of a word in order: 0x75316420 holds 0 to 7', () => {
    const words = new Uint32Array(8).fill(0x7531_6420);
    const out = new Uint32Array(8);
    transposeNibbles(words, 1, out, 1, 0);
    expect([...out]).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((value) => value * 0x1111_1111));
  });

  it.each([
    [8, 8],
    [32, 8],
    [264, 136],
    [128, 264],
  ])('equals the definition for %i inputs and %i outputs', (inputs, outputs) => {
    const seed = inputs * 1000 + outputs;
    const nibbles = randomNibbles(inputs * outputs, seed);
    const words = wordsOf(packAwq(nibbles, inputs, outputs).bytes);
    const out = new Uint32Array((inputs * outputs) / 8);
    transposeNibbles(words, outputs / 8, out, inputs / 8, 0);
    const packed = new Uint8Array(out.buffer);
    for (let n = 0; n < outputs; n++) {
      for (let k = 0; k < inputs; k++) {
        const byte = packed[(n * inputs + k) >>> 1] ?? 0;
        const found = k % 2 === 0 ? byte & 15 : byte >>> 4;
        if (found !== nibbles[k * outputs + n]) throw new Error(`seed ${seed}: (${n}, ${k})`);
      }
    }
  });

  it('gives the same in pieces as at once', () => {
    const [inputs, outputs] = [96, 64];
    const words = wordsOf(packAwq(randomNibbles(inputs * outputs, 7), inputs, outputs).bytes);
    const whole = new Uint32Array(words.length);
    transposeNibbles(words, outputs / 8, whole, inputs / 8, 0);
    const pieces = new Uint32Array(words.length);
    for (let from = 0; from < inputs; from += 32) {
      const rows = words.subarray((from * outputs) / 8, ((from + 32) * outputs) / 8);
      transposeNibbles(rows, outputs / 8, pieces, inputs / 8, from / 8);
    }
    expect(pieces).toEqual(whole);
  });

  it('refuses rows that are no multiple of 8', () => {
    expect(() => transposeNibbles(new Uint32Array(7), 1, new Uint32Array(7), 1, 0)).toThrow(
      RangeError,
    );
  });
});

describe('unpackScales', () => {
  it.each(['BF16', 'F16', 'F32'] as const)('transposes and widens %s', (dtype) => {
    // 19 groups: more than one tile, and no multiple of it.
    const [groups, outputs] = [19, 5];
    const values = Float32Array.from({ length: groups * outputs }, (_, i) => i - 40);
    const out = new Float32Array(groups * outputs);
    unpackScales(dtype, floatTensor(dtype, [groups, outputs], values).bytes, outputs, out);
    const expected = Array.from(out, (_, at) => {
      const [n, g] = [Math.floor(at / groups), at % groups];
      return values[g * outputs + n];
    });
    expect([...out]).toEqual(expected);
  });
});

describe('unpackZeroPoints', () => {
  it.each([1, 2, 5])('packs %i groups two a byte', (groups) => {
    const outputs = 16;
    const zeros = randomNibbles(groups * outputs, groups);
    const out = new Uint8Array(outputs * Math.ceil(groups / 2)).fill(0xff);
    unpackZeroPoints(wordsOf(packAwq(zeros, groups, outputs).bytes), outputs, out);
    for (let n = 0; n < outputs; n++) {
      for (let g = 0; g < groups; g++) {
        const byte = out[n * Math.ceil(groups / 2) + (g >>> 1)] ?? 0;
        expect((byte >>> (4 * (g & 1))) & 15).toBe(zeros[g * outputs + n]);
      }
    }
  });
});

describe('isSymmetric', () => {
  it('is true only when every zero point is 8', () => {
    const words = new Uint32Array(4).fill(0x8888_8888);
    expect(isSymmetric(words)).toBe(true);
    words[3] = 0x8888_8878;
    expect(isSymmetric(words)).toBe(false);
  });
});
