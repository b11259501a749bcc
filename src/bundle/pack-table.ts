import { sha256Hex } from '../lib/sha256-hex.ts';
import { isFloatDtype } from '../weights/dtype.ts';
import type { OpenedCheckpoint } from '../weights/open-checkpoint.ts';
import type { ObjectStore } from '../weights/object-store.ts';
import { encodeFloats } from './float-code.ts';
import { GRID_GROUP, recoverGroup } from './grid.ts';
import type { BundleTable } from './manifest.ts';
import type { PartWriter } from './part-writer.ts';
import { blockBytes } from './table-rows.ts';

/** A block is what a prompt's word costs before the table is here. */
const BLOCK_BYTES = 64 * 1024;
const HASHES_KEY = 'table-hashes.bin';

export type TableFormat = BundleTable['format'];

/**
 * Whether all rows lie on the int4 grid, looking at each value.
 * @returns int4 or the stored dtype
 */
export async function chooseTableFormat(
  checkpoint: OpenedCheckpoint,
  signal?: AbortSignal,
): Promise<TableFormat> {
  const info = checkpoint.tensors.get('embed_tokens');
  const [rows = 0, columns = 0] = info?.shape ?? [];
  const stored = isFloatDtype(info?.dtype ?? '') ? (info?.dtype as TableFormat) : 'F32';
  if (stored !== 'BF16' || columns % GRID_GROUP !== 0) return stored;
  const step = 512;
  const nibbles = new Uint8Array(GRID_GROUP / 2);
  for (let from = 0; from < rows; from += step) {
    const count = Math.min(step, rows - from);
    const values = new Float32Array(count * columns);
    await checkpoint.readRows('embed_tokens', from, from + count, values, signal);
    for (let at = 0; at < values.length; at += GRID_GROUP) {
      if (recoverGroup(values.subarray(at, at + GRID_GROUP), nibbles) === null) return stored;
    }
  }
  return 'int4';
}

/** Writes the embedding table in blocks that can be checked one by one. */
export async function packTable(
  checkpoint: OpenedCheckpoint,
  format: TableFormat,
  store: ObjectStore,
  createWriter: (partBytes: number) => PartWriter,
  partBytes: number,
  signal?: AbortSignal,
): Promise<BundleTable> {
  const [rows = 0, columns = 0] = checkpoint.tensors.get('embed_tokens')?.shape ?? [];
  const rowBytes = blockBytes({ format, columns }, 1);
  const blockRows = Math.max(1, Math.floor(BLOCK_BYTES / rowBytes));
  const blocksPerPart = Math.max(1, Math.floor(partBytes / (blockRows * rowBytes)));
  const writer = createWriter(blocksPerPart * blockRows * rowBytes);
  const blockCount = Math.ceil(rows / blockRows);
  const hashes = new Uint8Array(32 * blockCount);
  for (let block = 0; block < blockCount; block++) {
    const from = block * blockRows;
    const count = Math.min(blockRows, rows - from);
    const values = new Float32Array(count * columns);
    await checkpoint.readRows('embed_tokens', from, from + count, values, signal);
    const bytes = encodeBlock(values, format, count, columns);
    const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
    hashes.set(new Uint8Array(digest), 32 * block);
    await writer.append(bytes);
  }
  const parts = await writer.finish();
  await store.write(HASHES_KEY, hashes, signal === undefined ? {} : { signal });
  return {
    format,
    rows,
    columns,
    blockRows,
    blocksPerPart,
    parts: [...parts],
    blockHashes: {
      key: HASHES_KEY,
      sizeBytes: hashes.length,
      sha256: await sha256Hex(hashes),
    },
  };
}

function encodeBlock(
  values: Float32Array,
  format: TableFormat,
  rows: number,
  columns: number,
): Uint8Array {
  if (format !== 'int4') {
    const { dtype, bytes } = encodeFloats(values, format);
    if (dtype !== format) throw new RangeError(`the table is not ${format}`);
    return bytes;
  }
  const groups = (rows * columns) / GRID_GROUP;
  const packedBytes = (rows * columns) / 2;
  const bytes = new Uint8Array(packedBytes + 4 * groups);
  const view = new DataView(bytes.buffer, packedBytes);
  for (let group = 0; group < groups; group++) {
    const nibbles = bytes.subarray((group * GRID_GROUP) / 2, ((group + 1) * GRID_GROUP) / 2);
    const part = values.subarray(group * GRID_GROUP, (group + 1) * GRID_GROUP);
    const scale = recoverGroup(part, nibbles);
    if (scale === null) throw new RangeError('the table left its grid');
    view.setFloat32(group * 4, scale, true);
  }
  return bytes;
}
