/** SHA-256 as 64 lower-case hex digits. */
export type Sha256 = (bytes: Uint8Array) => string | Promise<string>;

/** @returns the SHA-256 of `bytes` as 64 lower-case hex digits */
export async function sha256Hex(bytes: Uint8Array): Promise<string> {
  // The cast only leaves out SharedArrayBuffer, which no caller uses.
  const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  let hex = '';
  for (const byte of new Uint8Array(digest)) hex += byte.toString(16).padStart(2, '0');
  return hex;
}
