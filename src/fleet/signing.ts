import { ServeError } from '../errors.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';

/**
 * Requests of gateways to replicas are signed with HMAC-SHA-256 over method, path, time, nonce, and the
 * content's length and digest. All of that is in the header: whoever has no fleet key is refused before a byte
 * of what was sent is read. Whoever saw a request cannot send it to that replica again; to another one, or to
 * one that has restarted, it could, within the window: a request that wakes a replica is older than it.
 * Answers are not signed: use https where others could change them.
 */
export interface Signer {
  /** Value of {@link SIGNATURE_HEADER}. */
  sign(method: string, path: string, content: Uint8Array): Promise<string>;
}

export interface Verifier {
  /**
   * Decides by the header alone whether to read what comes.
   * @throws ServeError invalid_api_key when it is not signed, wrongly, too old, or sent again
   */
  admit(method: string, path: string, header: string | null): Promise<SignedContent>;
}

/** What a signature vouches for. */
export interface SignedContent {
  readonly sizeBytes: number;
  /** @throws ServeError invalid_api_key unless exactly this was signed */
  check(content: Uint8Array): Promise<void>;
}

export const SIGNATURE_HEADER = 'x-gemlet-signature';

/** How far the clocks of gateway and replica may be apart. */
const WINDOW_MS = 120_000;
/** Nonces that are kept; with more requests in a window the oldest could be sent again. */
const MAX_NONCES = 200_000;
const MIN_KEY_LENGTH = 16;
const PATTERN =
  /^v2 k=([0-9a-f]{8}), t=(\d{1,15}), n=([\w-]{16,64}), l=(\d{1,10}), d=([0-9a-f]{64}), s=([0-9a-f]{64})$/;
const OTHER_VERSION = /^v\d+ /;

const encoder = new TextEncoder();

interface Key {
  /** Tells keys apart without telling them. */
  readonly id: string;
  readonly hmac: CryptoKey;
}

/** @throws RangeError for keys that are too short to be secret */
export function checkFleetKeys(keys: readonly string[]): void {
  if (keys.length === 0) throw new RangeError('A fleet needs at least one key.');
  if (keys.some((key) => key.length < MIN_KEY_LENGTH)) {
    throw new RangeError(`A fleet key needs at least ${MIN_KEY_LENGTH} characters.`);
  }
}

/** @param keys the first one signs; the others are those that are going out of use */
export function createSigner(keys: readonly string[], now: () => number): Signer {
  checkFleetKeys(keys);
  const [secret = ''] = keys;
  let loading: Promise<Key> | undefined;
  return {
    async sign(method, path, content) {
      loading ??= importKey(secret);
      const { id, hmac } = await loading;
      const time = String(now());
      const nonce = crypto.randomUUID();
      const digest = await sha256Hex(content);
      const text = signedText(method, path, time, nonce, String(content.length), digest);
      const signature = toHex(new Uint8Array(await crypto.subtle.sign('HMAC', hmac, text)));
      return `v2 k=${id}, t=${time}, n=${nonce}, l=${content.length}, d=${digest}, s=${signature}`;
    },
  };
}

/** @param keys any of them may have signed, so that keys can be changed without a pause */
export function createVerifier(keys: readonly string[], now: () => number): Verifier {
  checkFleetKeys(keys);
  let loading: Promise<readonly Key[]> | undefined;
  /** When each nonce's time is over, oldest first. */
  const seen = new Map<string, number>();

  function isNew(nonce: string, endMs: number): boolean {
    for (const [old, oldEndMs] of seen) {
      if (oldEndMs > now() && seen.size < MAX_NONCES) break;
      seen.delete(old);
    }
    if (seen.has(nonce)) return false;
    seen.set(nonce, endMs);
    return true;
  }

  return {
    async admit(method, path, header) {
      const match = header === null ? null : PATTERN.exec(header);
      if (match === null) {
        throw refuse(
          OTHER_VERSION.test(header ?? '')
            ? 'is signed in another way than here: run the same version of gemlet on gateway and replica'
            : 'carries no signature: only gateways that share a fleet key may use this route',
        );
      }
      const [, id, time = '', nonce = '', length = '', digest = '', signature = ''] = match;
      if (Math.abs(Number(time) - now()) > WINDOW_MS) {
        throw refuse(`was signed more than ${WINDOW_MS / 1000} s from now: compare the clocks`);
      }
      loading ??= Promise.all(keys.map(importKey));
      const text = signedText(method, path, time, nonce, length, digest);
      for (const key of await loading) {
        if (key.id !== id) continue;
        const isRight = await crypto.subtle.verify('HMAC', key.hmac, fromHex(signature), text);
        if (!isRight) continue;
        if (isNew(nonce, Number(time) + 2 * WINDOW_MS)) return contentOf(Number(length), digest);
        throw refuse('was seen before');
      }
      throw refuse('is signed with a key that is not valid here');
    },
  };
}

/** A keyed digest of `text`, 32 hex digits: names something without telling it. */
export async function keyedName(key: string, text: string): Promise<string> {
  const { hmac } = await importKey(key);
  const digest = await crypto.subtle.sign('HMAC', hmac, encoder.encode(text));
  return toHex(new Uint8Array(digest, 0, 16));
}

function contentOf(sizeBytes: number, digest: string): SignedContent {
  return {
    sizeBytes,
    async check(content) {
      if (content.length === sizeBytes && (await sha256Hex(content)) === digest) return;
      throw refuse('has another content than was signed');
    },
  };
}

function signedText(...parts: readonly string[]): Uint8Array<ArrayBuffer> {
  return encoder.encode(parts.join('\n'));
}

async function importKey(secret: string): Promise<Key> {
  const raw = encoder.encode(secret);
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const hmac = await crypto.subtle.importKey('raw', raw, algorithm, false, ['sign', 'verify']);
  const id = (await sha256Hex(encoder.encode(`gemlet fleet key ${secret}`))).slice(0, 8);
  return { id, hmac };
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: hex.length / 2 }, (_, at) =>
    Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16),
  );
}

function refuse(what: string): ServeError {
  return new ServeError('invalid_api_key', `The request ${what}.`);
}
