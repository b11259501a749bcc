import { createNumberHeap } from '../lib/number-heap.ts';
import { ServeError } from '../errors.ts';
import { extendHash, spanHash } from './token-table.ts';
import type { Vocabulary } from './vocabulary.ts';

/** Byte-pair encoding of text that holds no added tokens. */
export interface BpeEncoder {
  /** Appends the ids of bytes[from, to), well-formed UTF-8 with real spaces. */
  encode(bytes: Uint8Array, from: number, to: number, ids: number[]): void;
}

/**
 * Symbols one stretch of text may have: a heap key is rank * 2^25 + symbol, exact in a double as
 * ranks stay below 2^27.
 */
const MAX_SYMBOLS = 2 ** 25;

/** Longest stretch whose buffers are kept for the next text, in bytes. */
const KEPT_BYTES = 65_536;

/**
 * Gemma's tokenizer merges over whole texts, so a naive loop is quadratic. Two things keep this at
 * O(n log n): a heap of the possible merges, and cutting the text before each space that no token
 * can reach across, which changes no result and keeps the heap as small as a word.
 */
export function createBpeEncoder(vocabulary: Vocabulary): BpeEncoder {
  const { table, byteIds, joinsSpace } = vocabulary;
  const heap = createNumberHeap();
  let word = new Uint8Array(256);
  let wordBytes = 0;
  let symbols = createSymbols(256);

  function reserve(extra: number): void {
    if (wordBytes + extra <= word.length) return;
    const grown = new Uint8Array(word.length * 2);
    grown.set(word);
    word = grown;
  }

  /** Rank and left symbol of the merge of `left` with its right neighbour as a heap key, or -1. */
  function offerMerge(left: number): void {
    symbols.key[left] = -1;
    const right = symbols.next[left] as number;
    const leftId = symbols.id[left] as number;
    const rightId = symbols.id[right] as number;
    if (leftId < 0 || rightId < 0) return;
    const start = symbols.start[left] as number;
    const middle = symbols.start[right] as number;
    const end = symbols.start[symbols.next[right] as number] as number;
    if (end - start > table.maxBytes) return;
    const merged = table.find(spanHash(symbols.hash, start, end), word, start, end);
    if (merged < 0) return;
    const rank = vocabulary.mergeRank(merged, leftId, rightId, middle - start);
    if (rank < 0) return;
    const key = rank * MAX_SYMBOLS + left;
    symbols.key[left] = key;
    symbols.merged[left] = merged;
    heap.push(key);
  }

  /** Splits the word into characters, unknown ones into bytes; returns the number of symbols. */
  function splitWord(): number {
    const { hash, start, id } = symbols;
    hash[0] = 0;
    for (let at = 0; at < wordBytes; at++) {
      hash[at + 1] = extendHash(hash[at] as number, word[at] as number);
    }
    let count = 0;
    for (let at = 0; at < wordBytes;) {
      const lead = word[at] as number;
      const end = at + (lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
      const found = table.find(spanHash(hash, at, end), word, at, end);
      if (found >= 0) {
        start[count] = at;
        id[count++] = found;
        at = end;
      } else {
        for (; at < end; at++) {
          start[count] = at;
          // Complemented: bytes never merge.
          id[count++] = ~(byteIds[word[at] as number] as number);
        }
      }
    }
    start[count] = wordBytes;
    return count;
  }

  function encodeWord(ids: number[]): void {
    if (wordBytes >= symbols.capacity) symbols = createSymbols(word.length);
    const count = splitWord();
    if (count > MAX_SYMBOLS) {
      throw new ServeError(
        'invalid_request',
        `The text has ${count} characters without a space, at most ${MAX_SYMBOLS} are read.`,
      );
    }
    const { key, id, merged } = symbols;
    // `next` and `previous` of the ends point one past the last symbol and to -1.
    const { next, previous } = symbols;
    for (let symbol = 0; symbol <= count; symbol++) {
      next[symbol] = symbol + 1;
      previous[symbol] = symbol - 1;
      key[symbol] = -1;
    }
    heap.clear();
    for (let symbol = 0; symbol + 1 < count; symbol++) offerMerge(symbol);

    while (heap.size > 0) {
      const popped = heap.pop();
      const left = popped % MAX_SYMBOLS;
      // A merge that was offered before one of the two changed is out of date.
      if (key[left] !== popped) continue;
      const right = next[left] as number;
      const after = next[right] as number;
      id[left] = merged[left] as number;
      key[right] = -1;
      next[left] = after;
      previous[after] = left;
      if (after < count) offerMerge(left);
      else key[left] = -1;
      const before = previous[left] as number;
      if (before >= 0) offerMerge(before);
    }

    for (let symbol = 0; symbol < count; symbol = next[symbol] as number) {
      const found = id[symbol] as number;
      ids.push(found < 0 ? ~found : found);
    }
    wordBytes = 0;
  }

  return {
    encode(bytes, from, to, ids) {
      wordBytes = 0;
      for (let at = from; at < to;) {
        const byte = bytes[at] as number;
        // U+2581 is E2 96 81; spaces are written as it.
        const isMark = byte === 0xe2 && bytes[at + 1] === 0x96 && bytes[at + 2] === 0x81;
        reserve(3);
        if (byte !== 0x20 && !isMark) {
          word[wordBytes++] = byte;
          at++;
          continue;
        }
        if (wordBytes > 0 && joinsSpace[word[wordBytes - 1] as number] === 0) encodeWord(ids);
        word[wordBytes++] = 0xe2;
        word[wordBytes++] = 0x96;
        word[wordBytes++] = 0x81;
        at += isMark ? 3 : 1;
      }
      if (wordBytes > 0) encodeWord(ids);
      if (word.length > KEPT_BYTES) {
        word = new Uint8Array(256);
        symbols = createSymbols(256);
      }
    },
  };
}

/** Parallel arrays over the symbols of one word, and the hashes of its prefixes. */
interface Symbols {
  readonly capacity: number;
  /** [bytes + 1]; hash of the first i bytes */
  readonly hash: Int32Array;
  /** First byte of a symbol; after the last symbol, the length of the word. */
  readonly start: Int32Array;
  /** Token id, or the complement of a byte token's id. */
  readonly id: Int32Array;
  /** Neighbours still there. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** Heap key of the merge with the right neighbour, -1 for none. */
  readonly key: Float64Array;
  /** The id that merge makes. */
  readonly merged: Int32Array;
}

function createSymbols(bytes: number): Symbols {
  const capacity = bytes + 1;
  return {
    capacity,
    hash: new Int32Array(capacity),
    start: new Int32Array(capacity),
    id: new Int32Array(capacity),
    next: new Int32Array(capacity),
    previous: new Int32Array(capacity),
    key: new Float64Array(capacity),
    merged: new Int32Array(capacity),
  };
}
