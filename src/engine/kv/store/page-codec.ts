import { sha256Hex, type Sha256 } from '../../../lib/sha256-hex.ts';
import type { KvPage } from '../../backend.ts';
import { bytesOfHex, equalsHex } from './hex.ts';
import { PAGE_FORMAT_VERSION, type PageName } from './page-names.ts';

/** Bytes before the global part. */
export const PAGE_HEADER_BYTES = 256;

/**
 * Little endian: magic 8 | version u32 | header bytes u32 | fingerprint 32 | name 32 | start u32 |
 * count u32 | localStart u32 | 0 u32 | global bytes u64 | local bytes u64 | SHA-256 of the global
 * part 32 | of the local part 32 | zeros | of the header so far 32. Hashes of parts lie in a hashed
 * header, so that each part is proven without the others, and without a copy.
 */
const MAGIC = new TextEncoder().encode('GEMKVPG1');
const AT = {
  version: 8,
  headerBytes: 12,
  fingerprint: 16,
  name: 48,
  start: 80,
  count: 84,
  localStart: 88,
  globalBytes: 96,
  localBytes: 104,
  globalHash: 112,
  localHash: 144,
  headerHash: 224,
} as const;

/**
 * Why bytes are not the page: another format or version; of another model or layout; too short;
 * changed since they were written; the page of something else.
 */
export type PageRefusal = 'format' | 'foreign' | 'truncated' | 'damaged' | 'other content';

export interface Refused {
  readonly refusal: PageRefusal;
}

/** A page without its local part, proven. */
export interface PageHead {
  readonly start: number;
  readonly count: number;
  readonly localStart: number;
  readonly global: Uint8Array;
  readonly localBytes: number;
  readonly localSha256: Uint8Array;
}

export interface PageCodecOptions {
  /** As for names. */
  readonly fingerprint: string;
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
  readonly sha256?: Sha256;
}

/** Pages as objects. Bad bytes are refused with a reason, never thrown about. */
export interface PageCodec {
  /** Of a token in the object. */
  readonly tokenBytes: { readonly global: number; readonly local: number };
  /** Bytes of the object's start that hold header and global part of `count` tokens. */
  headBytes(count: number): number;
  /** Bytes of the whole object. */
  sizeOf(page: KvPage): number;
  /** @throws RangeError when the page is not of that name's place or this layout */
  encode(page: KvPage, name: PageName): Promise<Uint8Array>;
  /** @param bytes the object's first `headBytes(name.count)`; more are not looked at */
  decodeHead(bytes: Uint8Array, name: PageName): Promise<PageHead | Refused>;
  /** @param local the `head.localBytes` behind the global part */
  withLocal(head: PageHead, local: Uint8Array): Promise<KvPage | Refused>;
  /** The whole object at once. */
  decode(bytes: Uint8Array, name: PageName): Promise<KvPage | Refused>;
}

export function isRefused(value: object): value is Refused {
  return 'refusal' in value;
}

/** The page that a head alone is. */
export function withoutLocal({ start, count, global }: PageHead): KvPage {
  return { start, count, global, localStart: start + count, local: new Uint8Array() };
}

export function createPageCodec(options: PageCodecOptions): PageCodec {
  const { kvTokenBytes } = options;
  const sha256 = options.sha256 ?? sha256Hex;
  let fingerprintHash: Promise<string> | null = null;

  function hashOfFingerprint(): Promise<string> {
    fingerprintHash ??= Promise.resolve(
      sha256(new TextEncoder().encode(JSON.stringify(options.fingerprint))),
    );
    return fingerprintHash;
  }

  const headBytes = (count: number): number => PAGE_HEADER_BYTES + count * kvTokenBytes.global;

  function checkFits(page: KvPage, name: PageName): void {
    const { start, count, localStart, global, local } = page;
    const end = start + count;
    const isPlaced = start === name.start && count === name.count;
    const isLocal = localStart >= start && localStart <= end;
    const isSized =
      global.length === count * kvTokenBytes.global &&
      local.length === (end - localStart) * kvTokenBytes.local;
    if (isPlaced && isLocal && isSized) return;
    throw new RangeError(`a page of ${count} tokens at ${start} is not what its name tells`);
  }

  async function decodeHead(bytes: Uint8Array, name: PageName): Promise<PageHead | Refused> {
    if (bytes.length < PAGE_HEADER_BYTES) return { refusal: 'truncated' };
    const view = new DataView(bytes.buffer, bytes.byteOffset, PAGE_HEADER_BYTES);
    const isOurs =
      MAGIC.every((byte, index) => bytes[index] === byte) &&
      view.getUint32(AT.version, true) === PAGE_FORMAT_VERSION &&
      view.getUint32(AT.headerBytes, true) === PAGE_HEADER_BYTES;
    if (!isOurs) return { refusal: 'format' };
    const headerHash = await sha256(bytes.subarray(0, AT.headerHash));
    if (!equalsHex(bytes, AT.headerHash, headerHash)) return { refusal: 'damaged' };
    if (!equalsHex(bytes, AT.fingerprint, await hashOfFingerprint())) return { refusal: 'foreign' };
    const start = view.getUint32(AT.start, true);
    const count = view.getUint32(AT.count, true);
    const isNamed =
      equalsHex(bytes, AT.name, name.name) && start === name.start && count === name.count;
    if (!isNamed) return { refusal: 'other content' };
    const localStart = view.getUint32(AT.localStart, true);
    const localBytes = Number(view.getBigUint64(AT.localBytes, true));
    const isLaidOut =
      localStart >= start &&
      localStart <= start + count &&
      Number(view.getBigUint64(AT.globalBytes, true)) === count * kvTokenBytes.global &&
      localBytes === (start + count - localStart) * kvTokenBytes.local;
    if (!isLaidOut) return { refusal: 'foreign' };
    if (bytes.length < headBytes(count)) return { refusal: 'truncated' };
    const global = bytes.subarray(PAGE_HEADER_BYTES, headBytes(count));
    if (!equalsHex(bytes, AT.globalHash, await sha256(global))) return { refusal: 'damaged' };
    const localSha256 = bytes.slice(AT.localHash, AT.localHash + 32);
    return { start, count, localStart, global, localBytes, localSha256 };
  }

  async function withLocal(head: PageHead, local: Uint8Array): Promise<KvPage | Refused> {
    if (local.length < head.localBytes) return { refusal: 'truncated' };
    const isIntact =
      local.length === head.localBytes && equalsHex(head.localSha256, 0, await sha256(local));
    if (!isIntact) return { refusal: 'damaged' };
    const { start, count, localStart, global } = head;
    return { start, count, global, localStart, local };
  }

  return {
    tokenBytes: kvTokenBytes,
    headBytes,
    sizeOf: ({ global, local }) => PAGE_HEADER_BYTES + global.length + local.length,
    async encode(page, name) {
      checkFits(page, name);
      const { start, count, localStart, global, local } = page;
      const bytes = new Uint8Array(PAGE_HEADER_BYTES + global.length + local.length);
      bytes.set(global, PAGE_HEADER_BYTES);
      bytes.set(local, PAGE_HEADER_BYTES + global.length);
      bytes.set(MAGIC);
      const view = new DataView(bytes.buffer);
      view.setUint32(AT.version, PAGE_FORMAT_VERSION, true);
      view.setUint32(AT.headerBytes, PAGE_HEADER_BYTES, true);
      bytes.set(bytesOfHex(await hashOfFingerprint()), AT.fingerprint);
      bytes.set(bytesOfHex(name.name), AT.name);
      view.setUint32(AT.start, start, true);
      view.setUint32(AT.count, count, true);
      view.setUint32(AT.localStart, localStart, true);
      view.setBigUint64(AT.globalBytes, BigInt(global.length), true);
      view.setBigUint64(AT.localBytes, BigInt(local.length), true);
      // Of the copies: what is written and what was hashed are the same, whatever the caller does.
      const localAt = PAGE_HEADER_BYTES + global.length;
      bytes.set(
        bytesOfHex(await sha256(bytes.subarray(PAGE_HEADER_BYTES, localAt))),
        AT.globalHash,
      );
      bytes.set(bytesOfHex(await sha256(bytes.subarray(localAt))), AT.localHash);
      const headerHash = await sha256(bytes.subarray(0, AT.headerHash));
      bytes.set(bytesOfHex(headerHash), AT.headerHash);
      return bytes;
    },
    decodeHead,
    withLocal,
    async decode(bytes, name) {
      const head = await decodeHead(bytes, name);
      return isRefused(head) ? head : withLocal(head, bytes.subarray(headBytes(name.count)));
    },
  };
}
