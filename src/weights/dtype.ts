/** Float types a checkpoint may hold. */
export type FloatDtype = 'BF16' | 'F16' | 'F32';

/** Bytes of one value. */
export const FLOAT_SIZE: Readonly<Record<FloatDtype, number>> = { BF16: 2, F16: 2, F32: 4 };

export function isFloatDtype(dtype: string): dtype is FloatDtype {
  return dtype === 'BF16' || dtype === 'F16' || dtype === 'F32';
}

/**
 * Widens little-endian stored values to fp32, exactly.
 * @param bytes whole values; aligned to their size or else copied first
 * @param out receives `bytes.length / size` values from index `at`
 */
export function widen(dtype: FloatDtype, bytes: Uint8Array, out: Float32Array, at = 0): void {
  const size = FLOAT_SIZE[dtype];
  const count = bytes.length / size;
  if (!Number.isInteger(count) || at + count > out.length) {
    throw new RangeError(`${bytes.length} bytes of ${dtype} do not fit ${out.length - at} values`);
  }
  if (dtype === 'F32') {
    new Uint8Array(out.buffer, out.byteOffset + at * 4, bytes.length).set(bytes);
    return;
  }
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
  const halves = new Uint16Array(aligned.buffer, aligned.byteOffset, count);
  const target = out.subarray(at, at + count);
  if (dtype === 'BF16') widenBfloat16(halves, target);
  else widenFloat16(halves, target);
}

function widenBfloat16(halves: Uint16Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < halves.length; i++) bits[i] = (halves[i] ?? 0) << 16;
}

/** 2^112: moves a float16 exponent, placed in a float32, to where it belongs; exact for subnormals. */
const REBIAS = 2 ** 112;

function widenFloat16(halves: Uint16Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i] ?? 0;
    const sign = (half & 0x8000) << 16;
    const magnitude = (half & 0x7fff) << 13;
    if ((half & 0x7c00) === 0x7c00) {
      bits[i] = sign | 0x7f800000 | magnitude;
    } else {
      bits[i] = sign | magnitude;
      out[i] = (out[i] ?? 0) * REBIAS;
    }
  }
}
