import { describe, expect, it } from 'vitest';
import { widen } from '../../src/weights/dtype.ts';

const bytesOf = (halves: readonly number[]): Uint8Array =>
  new Uint8Array(Uint16Array.from(halves).buffer);

/** float16 by its definition: sign, 5 bits of exponent, 10 of mantissa. */
function float16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : Number.NaN;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

describe('widen', () => {
  it('widens all 65,536 float16 values exactly', () => {
    const halves = Array.from({ length: 65_536 }, (_, half) => half);
    const out = new Float32Array(65_536);
    widen('F16', bytesOf(halves), out);
    for (const half of halves) {
      if (!Object.is(out[half], float16(half))) throw new Error(`${half} became ${out[half]}`);
    }
  });

  it('widens bfloat16 by its upper bits', () => {
    const out = new Float32Array(6);
    widen('BF16', bytesOf([0x3f80, 0xc0a0, 0x4293, 0x0001, 0x8000, 0xff80]), out);
    expect([...out]).toEqual([1, -5, 73.5, 2 ** -133, -0, -Infinity]);
  });

  it('copies float32 and writes where it is told', () => {
    const values = Float32Array.of(1.5, -2.25);
    const out = new Float32Array(4);
    widen('F32', new Uint8Array(values.buffer), out, 1);
    expect([...out]).toEqual([0, 1.5, -2.25, 0]);
    widen('BF16', bytesOf([0x4000]), out, 3);
    expect([...out]).toEqual([0, 1.5, -2.25, 2]);
  });

  it('takes bytes that are not aligned', () => {
    const padded = new Uint8Array([0xaa, ...bytesOf([0x4000, 0x3f80])]);
    const out = new Float32Array(2);
    widen('BF16', padded.subarray(1), out);
    expect([...out]).toEqual([2, 1]);
  });

  it('refuses what does not fit', () => {
    expect(() => widen('BF16', new Uint8Array(3), new Float32Array(4))).toThrow(RangeError);
    expect(() => widen('F32', new Uint8Array(8), new Float32Array(2), 1)).toThrow(RangeError);
  });
});
