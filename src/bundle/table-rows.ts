import { FLOAT_SIZE, widen } from '../weights/dtype.ts';
import { GRID_GROUP, roundToBfloat16 } from './grid.ts';
import type { BundleTable } from './manifest.ts';

/** Bytes of `rows` rows in a block of the table. */
export function blockBytes(
  { format, columns }: Pick<BundleTable, 'format' | 'columns'>,
  rows: number,
): number {
  const rowBytes =
    format === 'int4' ? columns / 2 + (4 * columns) / GRID_GROUP : columns * FLOAT_SIZE[format];
  return rows * rowBytes;
}

/** The two halves of an int4 block: [rows, columns / 2] nibbles and [rows, columns / 32] fp32 scales. */
export function splitBlock(
  block: Uint8Array,
  rows: number,
  columns: number,
): { readonly packed: Uint8Array; readonly scales: Float32Array } {
  const packedBytes = (rows * columns) / 2;
  const tail = block.slice(packedBytes);
  return { packed: block.subarray(0, packedBytes), scales: new Float32Array(tail.buffer) };
}

/** Widens row `row` of a block into `out` from `at` on: what the checkpoint stores, to the bit. */
export function readRow(
  table: Pick<BundleTable, 'format' | 'columns'>,
  block: Uint8Array,
  blockRows: number,
  row: number,
  out: Float32Array,
  at: number,
): void {
  const { format, columns } = table;
  if (format !== 'int4') {
    const rowBytes = columns * FLOAT_SIZE[format];
    widen(format, block.subarray(row * rowBytes, (row + 1) * rowBytes), out, at);
    return;
  }
  const packedAt = (row * columns) / 2;
  const groups = columns / GRID_GROUP;
  const scaleAt = (blockRows * columns) / 2 + row * groups * 4;
  const view = new DataView(block.buffer, block.byteOffset + scaleAt, groups * 4);
  for (let group = 0; group < groups; group++) {
    const scale = view.getFloat32(group * 4, true);
    for (let i = group * GRID_GROUP; i < (group + 1) * GRID_GROUP; i += 2) {
      const byte = block[packedAt + (i >> 1)] ?? 0;
      out[at + i] = roundToBfloat16(Math.fround(((byte & 15) - 8) * scale));
      out[at + i + 1] = roundToBfloat16(Math.fround(((byte >> 4) - 8) * scale));
    }
  }
}
