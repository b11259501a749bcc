import * as zlib from 'node:zlib';

const BLOCK_BYTES = 2 ** 17;

/** A valid zstd frame without compression: raw blocks, single segment, size given. */
function rawZstd(bytes: Uint8Array): Uint8Array {
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK_BYTES));
  const frame = new Uint8Array(9 + 3 * blocks + bytes.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, 0xfd2f_b528, true);
  frame[4] = 0xa0;
  view.setUint32(5, bytes.length, true);
  let at = 9;
  for (let block = 0; block < blocks; block++) {
    const part = bytes.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
    const header = (part.length << 3) | (block === blocks - 1 ? 1 : 0);
    frame.set([header & 255, (header >> 8) & 255, header >> 16], at);
    frame.set(part, at + 3);
    at += 3 + part.length;
  }
  return frame;
}

/** A frame of a few bytes that claims nothing and unpacks to `blocks` times 128 KiB of zeros. */
export function bombZstd(blocks: number): Uint8Array {
  // No size given, a window of 1 MiB, repeated-byte blocks.
  const frame = new Uint8Array(6 + 4 * blocks);
  new DataView(frame.buffer).setUint32(0, 0xfd2f_b528, true);
  frame[5] = 10 << 3;
  for (let block = 0; block < blocks; block++) {
    const header = (BLOCK_BYTES << 3) | (1 << 1) | (block === blocks - 1 ? 1 : 0);
    frame.set([header & 255, (header >> 8) & 255, header >> 16, 0], 6 + 4 * block);
  }
  return frame;
}

/** Compressed where this Node.js can, else in raw blocks. */
export function zstd(bytes: Uint8Array): Uint8Array {
  const native = zlib as { readonly zstdCompressSync?: (bytes: Uint8Array) => Uint8Array };
  return native.zstdCompressSync?.(bytes) ?? rawZstd(bytes);
}
