/**
 * Keys as clients send them, or `sha256:` and the 64 hex digits of one's SHA-256, so that no key lies in
 * clear. A function is asked at every request: its keys may change while the server runs, and while it
 * gives none nobody is let in.
 */
export type KeyList = readonly string[] | (() => readonly string[]);

export interface KeyCheck {
  /** Whether this SHA-256 is that of a key; `'none'` where there are no keys at all. */
  find(digest: Uint8Array): Promise<'right' | 'wrong' | 'none'>;
}

/** Bytes of a key's digest that name its tenant. */
const TENANT_BYTES = 16;
const HASHED = /^sha256:([0-9a-f]{64})$/i;

/**
 * @param name of the option, for messages
 * @throws TypeError for an empty list, an empty key, or a digest that is none
 */
export function createKeyCheck(keys: KeyList, name: string): KeyCheck {
  if (typeof keys !== 'function') {
    if (keys.length === 0)
      throw new TypeError(`${name} is empty: leave it out to serve without keys`);
    checkKeys(keys, name);
  }
  let known: readonly string[] | null = null;
  let loading: Promise<readonly Uint8Array[]> = Promise.resolve([]);
  return {
    async find(digest) {
      const list = typeof keys === 'function' ? keys() : keys;
      if (list.length === 0) return 'none';
      if (list !== known) {
        known = list;
        loading = Promise.all(list.map(digestOf));
      }
      return includes(await loading, digest) ? 'right' : 'wrong';
    },
  };
}

/** @throws TypeError that names no key */
export function checkKeys(keys: readonly string[], name: string): void {
  for (const key of keys) {
    if (key.trim() === '') throw new TypeError(`${name} holds an empty key`);
    if (/^sha256:/i.test(key) && !HASHED.test(key)) {
      throw new TypeError(`${name} holds "sha256:" without 64 hex digits after it`);
    }
  }
}

/** Whether this is the digest of a key, which tells nothing of the key's length. */
export function isHashedKey(key: string): boolean {
  return HASHED.test(key);
}

/** The key that a request shows as `Authorization: Bearer` or `x-api-key`; null when it shows none. */
export function presentedKey(headers: Headers): string | null {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '')?.[1];
  return bearer ?? headers.get('x-api-key');
}

/** Names whoever shows a key, by half of its digest: never by the key. */
export function tenantName(digest: Uint8Array): string {
  let hex = '';
  for (const byte of digest.subarray(0, TENANT_BYTES)) hex += byte.toString(16).padStart(2, '0');
  return hex;
}

export async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}

async function digestOf(key: string): Promise<Uint8Array> {
  const [, hex] = HASHED.exec(key) ?? [];
  if (hex === undefined) return sha256(key);
  return Uint8Array.from({ length: 32 }, (_, at) =>
    Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16),
  );
}

/** Digests have one length and no structure, so comparing them leaks nothing about the keys. */
function includes(digests: readonly Uint8Array[], presented: Uint8Array): boolean {
  let found = false;
  for (const digest of digests) {
    let difference = 0;
    for (const [index, byte] of digest.entries()) difference |= byte ^ (presented[index] ?? 0);
    // No early exit: the time taken does not tell which key it was.
    found = difference === 0 || found;
  }
  return found;
}
