/**
 * Rounds float rows to the block formats of MatMulNBits, symmetric, one scale for each block of
 * inputs. Used for the output head, which checkpoints store as bfloat16.
 */

/**
 * @param row [K] floats
 * @param packed [K], value = (packed - 128) * scale
 * @param scales [K / blockSize]
 */
export function quantizeInt8(
  row: Float32Array,
  packed: Uint8Array,
  scales: Float32Array,
  blockSize: number,
): void {
  for (let block = 0, k = 0; k < row.length; block++, k += blockSize) {
    const scale = blockScale(row, k, blockSize, 127);
    const inverse = scale === 0 ? 0 : 1 / scale;
    scales[block] = scale;
    for (let i = k; i < k + blockSize; i++) {
      packed[i] = 128 + Math.round((row[i] as number) * inverse);
    }
  }
}

/**
 * @param packed [K / 2], low nibble first, value = (nibble - 8) * scale
 * @param scales [K / blockSize]
 */
export function quantizeInt4(
  row: Float32Array,
  packed: Uint8Array,
  scales: Float32Array,
  blockSize: number,
): void {
  for (let block = 0, k = 0; k < row.length; block++, k += blockSize) {
    const scale = blockScale(row, k, blockSize, 7);
    const inverse = scale === 0 ? 0 : 1 / scale;
    scales[block] = scale;
    for (let i = k; i < k + blockSize; i += 2) {
      const low = 8 + Math.round((row[i] as number) * inverse);
      const high = 8 + Math.round((row[i + 1] as number) * inverse);
      packed[i >> 1] = low | (high << 4);
    }
  }
}

/** The fp32 step that makes the block's largest magnitude `levels` steps. */
function blockScale(row: Float32Array, from: number, blockSize: number, levels: number): number {
  let largest = 0;
  for (let i = from; i < from + blockSize; i++) {
    const magnitude = Math.abs(row[i] as number);
    if (magnitude > largest) largest = magnitude;
  }
  return Math.fround(largest / levels);
}

/**
 * Inputs that share a scale in a rounded head, or null when the width has no such blocks. At 8 bits
 * larger blocks lose next to nothing and save reading: each costs 8 bytes beside its values. At 4
 * bits, 32: the grid that quantisation-aware training rounded the table to.
 */
export function headBlockSize(format: 'int8' | 'int4', hiddenSize: number): number | null {
  const sizes = format === 'int8' ? [128, 64, 32] : [32];
  return sizes.find((size) => hiddenSize % size === 0) ?? null;
}
