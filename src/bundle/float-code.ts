import type { FloatDtype } from '../weights/dtype.ts';

/** Stores floats in `dtype` where that loses nothing, else as F32. */
export function encodeFloats(
  values: Float32Array,
  dtype: FloatDtype,
): { readonly dtype: FloatDtype; readonly bytes: Uint8Array } {
  const halves = dtype === 'F32' ? null : narrow(values, dtype);
  const kept = halves ?? values;
  const bytes = new Uint8Array(kept.buffer, kept.byteOffset, kept.byteLength);
  return { dtype: halves === null ? 'F32' : dtype, bytes };
}

/** null when some value is none of the narrower format. */
function narrow(values: Float32Array, dtype: 'BF16' | 'F16'): Uint16Array | null {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const word = bits[i] ?? 0;
    const half = dtype === 'BF16' ? narrowBfloat16(word) : narrowFloat16(word, values[i] ?? 0);
    if (half < 0) return null;
    halves[i] = half;
  }
  return halves;
}

function narrowBfloat16(word: number): number {
  return (word & 0xffff) === 0 ? word >>> 16 : -1;
}

/** 2^24: makes the smallest float16 a whole number. */
const SUBNORMALS = 2 ** 24;

function narrowFloat16(word: number, value: number): number {
  const sign = (word >>> 16) & 0x8000;
  const exponent = ((word >>> 23) & 0xff) - 127;
  const mantissa = word & 0x7f_ffff;
  if (exponent >= -14 && exponent <= 15) {
    if ((mantissa & 0x1fff) !== 0) return -1;
    return sign | ((exponent + 15) << 10) | (mantissa >>> 13);
  }
  if (exponent === 128) return (mantissa & 0x1fff) === 0 ? sign | 0x7c00 | (mantissa >>> 13) : -1;
  const scaled = Math.abs(value) * SUBNORMALS;
  return Number.isInteger(scaled) && scaled < 1024 ? sign | scaled : -1;
}
