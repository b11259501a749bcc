/** CRC-32C (Castagnoli, reflected), as OCDBT puts at the end of every node. */

const POLYNOMIAL = 0x82f6_3b78;

const TABLE: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let word = byte;
  for (let bit = 0; bit < 8; bit++) word = (word >>> 1) ^ ((word & 1) * POLYNOMIAL);
  return word >>> 0;
});

/** @returns an unsigned 32-bit number */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (let i = 0; i < bytes.length; i++) {
    crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[i] as number)) & 0xff] as number);
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}
