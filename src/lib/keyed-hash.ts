import type { Sha256 } from './sha256-hex.ts';

/** HMAC-SHA-256, 32 bytes. */
export type Hmac = (key: Uint8Array, bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>;

/** Shorter ones can be guessed by who has one hash. */
export const LEAST_KEY_CHARACTERS = 16;

/**
 * A hash that only who has the key can make or check, to be used in place of SHA-256: what lies in a
 * store then proves that a holder of the key wrote it, and its names tell nothing to who guesses.
 * @param use what is hashed: one of a kind never passes for one of another
 * @throws RangeError when the key is shorter than `LEAST_KEY_CHARACTERS`
 */
export function createKeyedHash(key: string, use: string, hmac: Hmac = webHmac): Sha256 {
  if (key.length < LEAST_KEY_CHARACTERS) {
    throw new RangeError(`the key of a store must have ${LEAST_KEY_CHARACTERS} characters or more`);
  }
  const encoder = new TextEncoder();
  let derived: Promise<Uint8Array> | null = null;
  return async (bytes) => {
    derived ??= Promise.resolve(hmac(encoder.encode(key), encoder.encode(`gemlet ${use} 1`)));
    const mac = await hmac(await derived, bytes);
    return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join('');
  };
}

const webHmac: Hmac = async (key, bytes) => {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  // The casts only leave out SharedArrayBuffer, which no caller uses.
  const secret = key as Uint8Array<ArrayBuffer>;
  const imported = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign']);
  const content = bytes as Uint8Array<ArrayBuffer>;
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, content));
};
