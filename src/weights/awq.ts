import { FLOAT_SIZE, widen } from './dtype.ts';
import type { FloatDtype } from './dtype.ts';

/**
 * AutoAWQ "gemm" packing: a linear is stored transposed, [inFeatures, outFeatures / 8] words, and
 * nibble p of word c holds output 8c + OUTPUT_OF_NIBBLE[p]. We want one row per output with its
 * inputs side by side: every 8 words of one column are an 8 x 8 matrix of nibbles to transpose.
 */
const OUTPUT_OF_NIBBLE: readonly number[] = [0, 2, 4, 6, 1, 3, 5, 7];

/** A qzeros word whose eight zero points are all 8. */
const ALL_EIGHTS = 0x8888_8888 | 0;

/** Tile sides, in words: 16 words are one cache line on both sides. */
const TILE_COLUMNS = 16;
const TILE_BLOCKS = 16;
/** Scales transposed at once: one cache line of outputs. */
const TILE_GROUPS = 16;

/**
 * Transposes whole blocks of 8 inputs.
 * @param words [rows, columns] of qweight, rows a multiple of 8
 * @param out [columns * 8, outStride] words; 8 inputs a word, the lowest nibble first
 * @param outStride words of one output row: inFeatures / 8
 * @param outColumn where in an output row the first block goes: first input / 8
 */
export function transposeNibbles(
  words: Uint32Array,
  columns: number,
  out: Uint32Array,
  outStride: number,
  outColumn: number,
): void {
  const blocks = words.length / columns / 8;
  if (!Number.isInteger(blocks)) throw new RangeError('rows must come in blocks of 8');
  for (let block = 0; block < blocks; block += TILE_BLOCKS) {
    const blockEnd = Math.min(block + TILE_BLOCKS, blocks);
    for (let column = 0; column < columns; column += TILE_COLUMNS) {
      const columnEnd = Math.min(column + TILE_COLUMNS, columns);
      for (let b = block; b < blockEnd; b++) {
        transposeRun(
          words,
          b * 8 * columns,
          columns,
          column,
          columnEnd,
          out,
          outStride,
          outColumn + b,
        );
      }
    }
  }
}

/**
 * Transposes the 8 x 8 blocks of columns [from, to) of one row block with three rounds of swaps
 * (halves, bytes, nibbles), the classic bit matrix transpose.
 */
function transposeRun(
  words: Uint32Array,
  base: number,
  columns: number,
  from: number,
  to: number,
  out: Uint32Array,
  outStride: number,
  outColumn: number,
): void {
  for (let c = from; c < to; c++) {
    let at = base + c;
    let w0 = words[at] as number;
    let w1 = words[(at += columns)] as number;
    let w2 = words[(at += columns)] as number;
    let w3 = words[(at += columns)] as number;
    let w4 = words[(at += columns)] as number;
    let w5 = words[(at += columns)] as number;
    let w6 = words[(at += columns)] as number;
    let w7 = words[at + columns] as number;
    let t = ((w0 >>> 16) ^ w4) & 0xffff;
    w4 ^= t;
    w0 ^= t << 16;
    t = ((w1 >>> 16) ^ w5) & 0xffff;
    w5 ^= t;
    w1 ^= t << 16;
    t = ((w2 >>> 16) ^ w6) & 0xffff;
    w6 ^= t;
    w2 ^= t << 16;
    t = ((w3 >>> 16) ^ w7) & 0xffff;
    w7 ^= t;
    w3 ^= t << 16;

    t = ((w0 >>> 8) ^ w2) & 0x00ff00ff;
    w2 ^= t;
    w0 ^= t << 8;
    t = ((w1 >>> 8) ^ w3) & 0x00ff00ff;
    w3 ^= t;
    w1 ^= t << 8;
    t = ((w4 >>> 8) ^ w6) & 0x00ff00ff;
    w6 ^= t;
    w4 ^= t << 8;
    t = ((w5 >>> 8) ^ w7) & 0x00ff00ff;
    w7 ^= t;
    w5 ^= t << 8;

    t = ((w0 >>> 4) ^ w1) & 0x0f0f0f0f;
    w1 ^= t;
    w0 ^= t << 4;
    t = ((w2 >>> 4) ^ w3) & 0x0f0f0f0f;
    w3 ^= t;
    w2 ^= t << 4;
    t = ((w4 >>> 4) ^ w5) & 0x0f0f0f0f;
    w5 ^= t;
    w4 ^= t << 4;
    t = ((w6 >>> 4) ^ w7) & 0x0f0f0f0f;
    w7 ^= t;
    w6 ^= t << 4;

    // Word p now holds nibble p of all eight inputs: output OUTPUT_OF_NIBBLE[p] of this column.
    let row = c * 8 * outStride + outColumn;
    out[row] = w0;
    out[(row += outStride)] = w4;
    out[(row += outStride)] = w1;
    out[(row += outStride)] = w5;
    out[(row += outStride)] = w2;
    out[(row += outStride)] = w6;
    out[(row += outStride)] = w3;
    out[row + outStride] = w7;
  }
}

/**
 * Transposes stored scales to one row per output.
 * @param bytes [groups, outFeatures] of `dtype`
 * @param out [outFeatures, groups]
 */
export function unpackScales(
  dtype: FloatDtype,
  bytes: Uint8Array,
  outFeatures: number,
  out: Float32Array,
): void {
  const rowBytes = outFeatures * FLOAT_SIZE[dtype];
  const groups = bytes.length / rowBytes;
  const rows = new Float32Array(Math.min(TILE_GROUPS, groups) * outFeatures);
  for (let from = 0; from < groups; from += TILE_GROUPS) {
    const count = Math.min(TILE_GROUPS, groups - from);
    widen(dtype, bytes.subarray(from * rowBytes, (from + count) * rowBytes), rows);
    for (let n = 0; n < outFeatures; n++) {
      const at = n * groups + from;
      for (let g = 0; g < count; g++) out[at + g] = rows[g * outFeatures + n] ?? 0;
    }
  }
}

/** Whether every zero point is 8. */
export function isSymmetric(qzeros: Uint32Array): boolean {
  for (let i = 0; i < qzeros.length; i++) {
    if (((qzeros[i] as number) | 0) !== ALL_EIGHTS) return false;
  }
  return true;
}

/**
 * Unpacks zero points to one row per output, two groups a byte.
 * @param qzeros [groups, outFeatures / 8] words, packed like qweight
 * @param out [outFeatures, ceil(groups / 2)]; the low nibble holds the even group
 */
export function unpackZeroPoints(qzeros: Uint32Array, outFeatures: number, out: Uint8Array): void {
  const columns = outFeatures / 8;
  const groups = qzeros.length / columns;
  const rowBytes = Math.ceil(groups / 2);
  out.fill(0);
  for (let group = 0; group < groups; group++) {
    const shift = (group & 1) * 4;
    for (let c = 0; c < columns; c++) {
      const word = qzeros[group * columns + c] ?? 0;
      for (let p = 0; p < 8; p++) {
        const at = (c * 8 + (OUTPUT_OF_NIBBLE[p] ?? 0)) * rowBytes + (group >>> 1);
        out[at] = (out[at] ?? 0) | (((word >>> (4 * p)) & 15) << shift);
      }
    }
  }
}
