/**
 * Finds the token that spells a span of bytes, without a JavaScript string per token: open
 * addressing over the vocabulary's one text, keyed by a rolling hash, so that the hash of any span
 * of an input follows from two prefix hashes.
 */
export interface TokenTable {
  /** Longest spelling, in bytes. */
  readonly maxBytes: number;
  /**
   * @param hash spanHash of bytes[start, end)
   * @returns the id spelled so, or -1
   */
  find(hash: number, bytes: Uint8Array, start: number, end: number): number;
}

/** Longest spelling a vocabulary may hold, in bytes: its length is stored in one byte. */
export const MAX_TOKEN_BYTES = 255;

/** Odd, with well spread bits: 2^32 divided by the golden ratio. */
const HASH_BASE = 0x9e3779b1;

/** Odd, for mixing; from MurmurHash3's finalizer. */
const MIX = 0x85ebca6b;

const POWERS: Int32Array = powers(MAX_TOKEN_BYTES + 1);

/** The hash of a text one byte longer. The empty text has hash 0. */
export function extendHash(hash: number, byte: number): number {
  return (Math.imul(hash, HASH_BASE) + byte + 1) | 0;
}

/** Hash of the span [start, end), at most MAX_TOKEN_BYTES long; prefix[i] is the hash of [0, i). */
export function spanHash(prefix: Int32Array, start: number, end: number): number {
  const before = prefix[start] as number;
  return ((prefix[end] as number) - Math.imul(before, POWERS[end - start] as number)) | 0;
}

/** Hash of bytes[start, end) alone. */
export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0;
  for (let at = start; at < end; at++) hash = extendHash(hash, bytes[at] as number);
  return hash;
}

/**
 * @param text spellings in order of their ids, UTF-8
 * @param offsets [tokenCount + 1]; token `id` is text[offsets[id], offsets[id + 1])
 * @param isFindable whether the token takes part
 */
export function createTokenTable(
  text: Uint8Array,
  offsets: Int32Array,
  isFindable: (id: number) => boolean,
): TokenTable {
  const tokenCount = offsets.length - 1;
  let slotBits = 4;
  while (1 << slotBits < tokenCount * 2) slotBits++;
  const shift = 32 - slotBits;
  const mask = (1 << slotBits) - 1;
  // Pairs of (hash, id + 1); id + 1 is 0 in a free slot.
  const slots = new Int32Array(2 << slotBits);

  let maxBytes = 0;
  for (let id = 0; id < tokenCount; id++) {
    if (!isFindable(id)) continue;
    const start = offsets[id] as number;
    const end = offsets[id + 1] as number;
    maxBytes = Math.max(maxBytes, end - start);
    const hash = hashBytes(text, start, end);
    let slot = firstSlot(hash, shift);
    while (slots[2 * slot + 1] !== 0) slot = (slot + 1) & mask;
    slots[2 * slot] = hash;
    slots[2 * slot + 1] = id + 1;
  }

  return {
    maxBytes,
    find(hash, bytes, start, end) {
      let slot = firstSlot(hash, shift);
      for (;;) {
        const id = (slots[2 * slot + 1] as number) - 1;
        if (id < 0) return -1;
        if (slots[2 * slot] === hash) {
          const from = offsets[id] as number;
          const length = end - start;
          if ((offsets[id + 1] as number) - from === length) {
            let k = 0;
            while (k < length && text[from + k] === bytes[start + k]) k++;
            if (k === length) return id;
          }
        }
        slot = (slot + 1) & mask;
      }
    },
  };
}

function firstSlot(hash: number, shift: number): number {
  return Math.imul(hash ^ (hash >>> 15), MIX) >>> shift;
}

function powers(count: number): Int32Array {
  const table = new Int32Array(count);
  table[0] = 1;
  for (let k = 1; k < count; k++) table[k] = Math.imul(table[k - 1] as number, HASH_BASE);
  return table;
}
