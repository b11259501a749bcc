import { describe, expect, it } from 'vitest';
import { digestBits, sameBits } from '../../src/lib/float-bits.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

const random = createSeededRandom(1);
const VALUES = Float32Array.from({ length: 100 }, () => random.next() - 0.5);

describe('digest of bits', () => {
  it('is the same for the same bits, wherever they lie', () => {
    const shifted = new Float32Array(103).subarray(3);
    shifted.set(VALUES);
    expect(digestBits(shifted)).toBe(digestBits(VALUES));
    expect(digestBits(VALUES)).toBeGreaterThanOrEqual(0);
    expect(Number.isInteger(digestBits(VALUES))).toBe(true);
  });

  it('changes with every single bit and every pair of signs', () => {
    const seen = new Set([digestBits(VALUES)]);
    const words = new Uint32Array(VALUES.slice().buffer);
    const digest = (): number => digestBits(new Float32Array(words.buffer));
    let variants = 1;
    for (let at = 0; at < words.length; at++) {
      for (let bit = 0; bit < 32; bit++) {
        words[at] = ((words[at] ?? 0) ^ (1 << bit)) >>> 0;
        seen.add(digest());
        words[at] = ((words[at] ?? 0) ^ (1 << bit)) >>> 0;
        variants++;
      }
    }
    for (let a = 0; a < words.length; a++) {
      for (let b = 0; b < a; b++) {
        for (const at of [a, b]) words[at] = ((words[at] ?? 0) ^ 0x8000_0000) >>> 0;
        seen.add(digest());
        for (const at of [a, b]) words[at] = ((words[at] ?? 0) ^ 0x8000_0000) >>> 0;
        variants++;
      }
    }
    expect(seen.size).toBe(variants);
  });

  it('tells order, signs of zero, and where one part ends', () => {
    const [a, b] = [VALUES.subarray(0, 40), VALUES.subarray(40)];
    const digests = [
      digestBits(VALUES),
      digestBits(a, b),
      digestBits(b, a),
      digestBits(VALUES.subarray(0, 41), VALUES.subarray(41)),
      digestBits(VALUES, new Float32Array(0)),
      digestBits(),
      digestBits(new Float32Array(1)),
      digestBits(new Float32Array(2)),
      digestBits(Float32Array.of(-0)),
    ];
    // An empty part adds nothing.
    expect(digests[4]).toBe(digests[0]);
    expect(new Set(digests).size).toBe(digests.length - 1);
  });
});

describe('same bits', () => {
  it('compares what floats are stored as', () => {
    expect(sameBits(VALUES, VALUES.slice())).toBe(true);
    expect(sameBits(VALUES, VALUES.subarray(1))).toBe(false);
    expect(sameBits(VALUES, VALUES.with(99, 7))).toBe(false);
    expect(sameBits(Float32Array.of(Number.NaN), Float32Array.of(Number.NaN))).toBe(true);
    expect(sameBits(Float32Array.of(0), Float32Array.of(-0))).toBe(false);
  });
});
