const HEX = /^(?:[0-9a-f]{2})*$/;

/**
 * Bytes of lower-case hex digits.
 * @throws RangeError when it is none
 */
export function bytesOfHex(hex: string): Uint8Array {
  // What it is stays out of the message: it may be a name made of secrets.
  if (!HEX.test(hex)) throw new RangeError(`no lower-case hex: ${hex.length} characters`);
  const bytes = new Uint8Array(hex.length / 2);
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = Number.parseInt(hex.slice(at * 2, at * 2 + 2), 16);
  }
  return bytes;
}

/** Whether the bytes from `offset` on are those of `hex`. */
export function equalsHex(bytes: Uint8Array, offset: number, hex: string): boolean {
  const expected = bytesOfHex(hex);
  if (bytes.length < offset + expected.length) return false;
  return expected.every((byte, index) => bytes[offset + index] === byte);
}
