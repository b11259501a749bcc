import type { ObjectSource } from '../weights/object-source.ts';
import { createByteCursor, damaged, type ByteCursor } from './byte-cursor.ts';
import { crc32c } from './crc32c.ts';
import { unzstdSmall, type Unzstd } from './zstd.ts';

/**
 * What an OCDBT database (TensorStore's "optionally-cooperative distributed B+tree") is made of:
 * manifests and nodes, each in an envelope of magic number, length, compression and CRC-32C.
 */
export interface OcdbtPlace {
  readonly source: ObjectSource;
  readonly unzstd: Unzstd;
}

/** Bytes of a file. */
export interface FileSpan {
  readonly key: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

export const MANIFEST_MAGIC = 0x0cdb_3a2a;
export const NODE_MAGIC = 0x0cdb_20de;

/** Writers aim at 8 MiB a node; a checkpoint's have some hundred keys. */
const MAX_STORED_BYTES = 2 ** 26;
const MAX_DECODED_BYTES = 2 ** 27;
/** Magic, length and checksum. */
const FRAME_BYTES = 4 + 8 + 4;

/**
 * Reads a manifest or node, checks its envelope and unpacks it.
 * @returns a cursor over its body
 * @throws ServeError invalid_checkpoint, weights_unavailable
 */
export async function readEnvelope(
  { source, unzstd }: OcdbtPlace,
  span: FileSpan,
  magic: number,
  signal?: AbortSignal,
): Promise<ByteCursor> {
  const where = `${source.name}: ${span.key} at ${span.offset}`;
  if (span.sizeBytes < FRAME_BYTES || span.sizeBytes > MAX_STORED_BYTES) {
    throw damaged(where, `a part of the index cannot have ${span.sizeBytes} bytes`);
  }
  const bytes = new Uint8Array(span.sizeBytes);
  await source.read(span.key, span.offset, bytes, signal);
  const view = new DataView(bytes.buffer);
  if (view.getUint32(0, false) !== magic) throw damaged(where, 'it has not the right beginning');
  const length = view.getBigUint64(4, true);
  if (length !== BigInt(span.sizeBytes)) {
    throw damaged(where, `it says that it has ${length} bytes, but it has ${span.sizeBytes}`);
  }
  const end = bytes.length - 4;
  const [stored, computed] = [view.getUint32(end, true), crc32c(bytes.subarray(0, end))];
  if (stored !== computed) throw damaged(where, 'its CRC-32C is wrong');

  const frame = createByteCursor(bytes.subarray(12, end), where);
  const version = frame.varint();
  if (version !== 0) throw damaged(where, `its format is ${version}, only 0 is known`);
  const compression = frame.varint();
  const body = frame.bytes(frame.left);
  if (compression === 0) return createByteCursor(body, where);
  if (compression !== 1) throw damaged(where, `its compression is ${compression}, not 0 or 1`);
  return createByteCursor(await unzstdSmall(unzstd, body, MAX_DECODED_BYTES, where), where);
}
