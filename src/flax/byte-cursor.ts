import { ServeError } from '../errors.ts';

/** Reads a binary structure from front to back; every read is checked against its end. */
export interface ByteCursor {
  /** Bytes not read yet. */
  readonly left: number;
  u8(): number;
  /** Little-endian. */
  u32(): number;
  /** Unsigned LEB128, below 2^53. */
  varint(): number;
  /** A varint that counts things of at least `leastBytes` each: no more than can follow. */
  count(leastBytes?: number): number;
  varints(count: number): readonly number[];
  /** Varints of which some may be 2^64 - 1, which is how a place that is none is written: null. */
  places(count: number): readonly (number | null)[];
  /** A view, not a copy. */
  bytes(count: number): Uint8Array;
  fail(problem: string, cause?: unknown): ServeError;
}

/** Seven bits each: what a number below 2^53 can take. */
const MAX_VARINT_BYTES = 8;
/** 2^64 - 1 as a varint. */
const NOWHERE: readonly number[] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];

/**
 * @param where what is read, for messages
 * @throws ServeError invalid_checkpoint from every method that meets the end or nonsense
 */
export function createByteCursor(bytes: Uint8Array, where: string): ByteCursor {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const fail = (problem: string, cause?: unknown): ServeError => damaged(where, problem, cause);
  const take = (count: number): number => {
    if (count > bytes.length - at) throw fail(`it ends ${count - (bytes.length - at)} bytes early`);
    at += count;
    return at - count;
  };
  function skipNowhere(): boolean {
    if (NOWHERE.some((byte, i) => bytes[at + i] !== byte)) return false;
    at += NOWHERE.length;
    return true;
  }
  const self: ByteCursor = {
    get left() {
      return bytes.length - at;
    },
    u8: () => view.getUint8(take(1)),
    u32: () => view.getUint32(take(4), true),
    varint() {
      let value = 0;
      let factor = 1;
      for (let i = 0; i < MAX_VARINT_BYTES; i++) {
        const byte = view.getUint8(take(1));
        value += (byte & 0x7f) * factor;
        if (byte < 0x80) {
          if (value > Number.MAX_SAFE_INTEGER) break;
          return value;
        }
        factor *= 128;
      }
      throw fail('it holds a number above 2^53');
    },
    count(leastBytes = 1) {
      const count = self.varint();
      if (count * leastBytes > self.left) throw fail(`it claims ${count} entries, which cannot be`);
      return count;
    },
    varints: (count) => Array.from({ length: count }, () => self.varint()),
    places: (count) => Array.from({ length: count }, () => (skipNowhere() ? null : self.varint())),
    bytes(count) {
      const from = take(count);
      return bytes.subarray(from, from + count);
    },
    fail,
  };
  return self;
}

/** The error for bytes that are not what they must be. */
export function damaged(where: string, problem: string, cause?: unknown): ServeError {
  return new ServeError(
    'invalid_checkpoint',
    `${where} is damaged: ${problem}; download it again`,
    cause === undefined ? {} : { cause },
  );
}
