import { sha256Hex, type Sha256 } from '../../../lib/sha256-hex.ts';
import { bytesOfHex, equalsHex } from './hex.ts';
import type { PageRefusal, Refused } from './page-codec.ts';
import type { PageNamer } from './page-names.ts';

/** Little endian: magic 8 | count u32 | ids u32 * count | SHA-256 of name and all before 32. */
const MAGIC = new TextEncoder().encode('GEMSAID1');
const IDS_AT = 12;
const HASH_BYTES = 32;
const ID_BYTES = 4;

/** Bytes of the object that holds so many ids. */
export function saidObjectBytes(count: number): number {
  return IDS_AT + count * ID_BYTES + HASH_BYTES;
}

export interface SaidName {
  readonly key: string;
  readonly name: string;
}

/** The ids of one answer as an object, named by the place it was said at. */
export interface SaidCodec {
  /** @param said key of the text within the scope, see `SaidText` */
  nameOf(scope: string, said: string): Promise<SaidName>;
  encode(ids: Int32Array, name: SaidName): Promise<Uint8Array>;
  decode(bytes: Uint8Array, name: SaidName): Promise<Int32Array | Refused>;
}

export interface SaidCodecOptions {
  readonly namer: PageNamer;
  /** As for pages: whoever cannot read those has no use for these. */
  readonly fingerprint: string;
  readonly sha256?: Sha256;
}

export function createSaidCodec({ namer, fingerprint, ...options }: SaidCodecOptions): SaidCodec {
  const sha256 = options.sha256 ?? sha256Hex;

  async function hashOf(name: SaidName, body: Uint8Array): Promise<string> {
    const bytes = new Uint8Array(HASH_BYTES + body.length);
    bytes.set(bytesOfHex(name.name));
    bytes.set(body, HASH_BYTES);
    return sha256(bytes);
  }

  return {
    async nameOf(scope, said) {
      const parts = ['gemlet-said', 1, fingerprint, scope, said];
      const name = await sha256(new TextEncoder().encode(JSON.stringify(parts)));
      return { name, key: `${await namer.folderOf(scope)}said/${name}` };
    },
    async encode(ids, name) {
      const bytes = new Uint8Array(saidObjectBytes(ids.length));
      bytes.set(MAGIC);
      const view = new DataView(bytes.buffer);
      view.setUint32(MAGIC.length, ids.length, true);
      ids.forEach((id, index) => view.setUint32(IDS_AT + index * ID_BYTES, id, true));
      const body = bytes.subarray(0, bytes.length - HASH_BYTES);
      bytes.set(bytesOfHex(await hashOf(name, body)), body.length);
      return bytes;
    },
    async decode(bytes, name) {
      if (bytes.length < saidObjectBytes(0)) return refuse('truncated');
      if (!MAGIC.every((byte, index) => bytes[index] === byte)) return refuse('format');
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const count = view.getUint32(MAGIC.length, true);
      if (bytes.length < saidObjectBytes(count)) return refuse('truncated');
      const body = bytes.subarray(0, saidObjectBytes(count) - HASH_BYTES);
      const isIntact =
        bytes.length === saidObjectBytes(count) &&
        equalsHex(bytes, body.length, await hashOf(name, body));
      if (!isIntact) return refuse('damaged');
      return Int32Array.from({ length: count }, (_, index) =>
        view.getInt32(IDS_AT + index * ID_BYTES, true),
      );
    },
  };
}

function refuse(refusal: PageRefusal): Refused {
  return { refusal };
}
