import type { KvPage } from '../../backend.ts';
import {
  createPageCodec,
  isRefused,
  PAGE_HEADER_BYTES,
  type PageCodec,
  type PageCodecOptions,
  type PageHead,
  type Refused,
} from './page-codec.ts';
import type { PageName } from './page-names.ts';

/** Ends fingerprints of what is stored so: neither exact pages nor those of another version are met. */
export const INT8_KIND = 'kv-int8-1';

const FLOAT_BYTES = 4;
const LARGEST_CODE = 127;
/** Of a scale; below, floats have too few bits to divide by. */
const SMALLEST_SCALE = 2 ** -126;

export interface Int8CodecOptions extends PageCodecOptions {
  /** Floats of a vector: a key or value of one token and head, with nothing between them in a part. */
  readonly headDim: number;
}

/**
 * Pages in about a quarter of their bytes, which no longer come back to the bit. Each part is stored as
 * one scale a vector, fp32, and then all codes, int8: a value is its code times its vector's scale, off by
 * half a scale at most, which is 1/254 of the vector's largest value.
 * @throws RangeError when a token's part is not whole vectors
 */
export function createInt8Codec(options: Int8CodecOptions): PageCodec {
  const { headDim, kvTokenBytes } = options;
  const stored = {
    global: int8Bytes(kvTokenBytes.global, headDim),
    local: int8Bytes(kvTokenBytes.local, headDim),
  };
  const codec = createPageCodec({ ...options, kvTokenBytes: stored });

  async function decodeHead(bytes: Uint8Array, name: PageName): Promise<PageHead | Refused> {
    const head = await codec.decodeHead(bytes, name);
    return isRefused(head) ? head : { ...head, global: unpack(head.global, headDim) };
  }

  async function withLocal(head: PageHead, local: Uint8Array): Promise<KvPage | Refused> {
    const page = await codec.withLocal(head, local);
    return isRefused(page) ? page : { ...page, local: unpack(page.local, headDim) };
  }

  return {
    tokenBytes: stored,
    headBytes: (count) => codec.headBytes(count),
    sizeOf: ({ global, local }) =>
      PAGE_HEADER_BYTES + int8Bytes(global.length, headDim) + int8Bytes(local.length, headDim),
    async encode(page, name) {
      const { global, local } = page;
      const packed = { global: pack(global, headDim), local: pack(local, headDim) };
      return codec.encode({ ...page, ...packed }, name);
    },
    decodeHead,
    withLocal,
    async decode(bytes, name) {
      const head = await decodeHead(bytes, name);
      const local = bytes.subarray(codec.headBytes(name.count));
      return isRefused(head) ? head : withLocal(head, local);
    },
  };
}

/**
 * What so many bytes of vectors take as int8.
 * @throws RangeError when they are not whole vectors
 */
export function int8Bytes(bytes: number, headDim: number): number {
  const vectors = bytes / (headDim * FLOAT_BYTES);
  if (Number.isInteger(vectors)) return vectors * (FLOAT_BYTES + headDim);
  throw new RangeError(`${bytes} bytes are not whole vectors of ${headDim} floats`);
}

/**
 * @param part fp32 [vectors, headDim]
 * @returns fp32 [vectors], then int8 [vectors, headDim]
 * @throws RangeError when a value is not finite
 */
function pack(part: Uint8Array, headDim: number): Uint8Array {
  const packed = new Uint8Array(int8Bytes(part.length, headDim));
  const { buffer, byteOffset } = aligned(part);
  const floats = new Float32Array(buffer, byteOffset, part.length / FLOAT_BYTES);
  const vectors = floats.length / headDim;
  const scales = new Float32Array(packed.buffer, 0, vectors);
  const codes = new Int8Array(packed.buffer, vectors * FLOAT_BYTES);
  for (let vector = 0; vector < vectors; vector++) {
    const from = vector * headDim;
    const to = from + headDim;
    let largest = 0;
    for (let at = from; at < to; at++) largest = Math.max(largest, Math.abs(floats[at] as number));
    const scale = Math.fround(largest / LARGEST_CODE);
    // Not what came, silently: a restored row would be broken, or right where it was broken.
    if (!Number.isFinite(Math.fround(scale * LARGEST_CODE))) {
      throw new RangeError('keys and values that are not finite cannot be stored as int8');
    }
    if (scale < SMALLEST_SCALE) continue;
    scales[vector] = scale;
    const inverse = 1 / scale;
    for (let at = from; at < to; at++) {
      // The nearest whole number, faster than Math.round: what is cut off is never negative.
      codes[at] = (((floats[at] as number) * inverse + 128.5) | 0) - 128;
    }
  }
  return packed;
}

/** The other way. */
function unpack(packed: Uint8Array, headDim: number): Uint8Array {
  const vectors = packed.length / (FLOAT_BYTES + headDim);
  const { buffer, byteOffset } = aligned(packed);
  const scales = new Float32Array(buffer, byteOffset, vectors);
  const codes = new Int8Array(buffer, byteOffset + vectors * FLOAT_BYTES, vectors * headDim);
  const floats = new Float32Array(codes.length);
  for (let vector = 0; vector < vectors; vector++) {
    const scale = scales[vector] as number;
    const to = (vector + 1) * headDim;
    for (let at = vector * headDim; at < to; at++) floats[at] = (codes[at] as number) * scale;
  }
  return new Uint8Array(floats.buffer);
}

/** The same bytes where a float may start. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.byteOffset % FLOAT_BYTES === 0 ? bytes : bytes.slice();
}
