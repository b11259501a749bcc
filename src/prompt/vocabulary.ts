import { ServeError } from '../errors.ts';
import { createMergeTable } from './merge-table.ts';
import { createTokenTable, hashBytes, type TokenTable } from './token-table.ts';
import type { SpecialTokens } from './tokenizer.ts';
import { ADDED, OUTSIDE_MERGES, readVocabulary, SPECIAL } from './vocabulary-format.ts';

/** A vocabulary ready for use: one text, a table over it, and the rule of the merges. */
export interface Vocabulary {
  /** Lower-case hex SHA-256 of the tokenizer.json it was made from. */
  readonly sourceSha256: string;
  readonly tokenCount: number;
  readonly special: SpecialTokens;
  /** Spellings in order of ids, UTF-8. */
  readonly text: Uint8Array;
  /** [tokenCount + 1]; token `id` is spelled text[offsets[id], offsets[id + 1]) */
  readonly offsets: Int32Array;
  /** Ids of `<0x00>` to `<0xFF>`. */
  readonly byteIds: Int32Array;
  /** [tokenCount]; the byte a token stands for, -1 for all others. */
  readonly byteValues: Int16Array;
  /** Added tokens that are not special: matched in raw text, user text included. */
  readonly addedIds: readonly number[];
  /** Every token that text may become: special tokens are never found. */
  readonly table: TokenTable;
  /** [256]; 1 for bytes that some token has right before a U+2581 inside it. */
  readonly joinsSpace: Uint8Array;
  /**
   * Order in which merges apply, lowest first; -1 when the two may not merge.
   * @param merged id of the two texts joined
   * @param leftBytes length of the left text
   */
  mergeRank(merged: number, left: number, right: number, leftBytes: number): number;
}

/** Ranks stay below this: times 2^25 they are still exact in a double. */
const MAX_MERGE_RANK = 2 ** 27;

/** Unlisted merges of one token: one rank per length of the left part, 0..255. */
const RANKS_PER_TOKEN = 256;

/**
 * Reads a compact vocabulary. Keeps a view of `bytes`, so do not change them.
 * @throws ServeError invalid_checkpoint when it is damaged
 */
export function loadVocabulary(bytes: Uint8Array): Vocabulary {
  const fields = readVocabulary(bytes);
  const { kinds, text } = fields;
  const tokenCount = fields.lengths.length;
  const offsets = toOffsets(fields.lengths, text.length);
  // Special tokens are left out, so no text, however put together, can become one.
  const table = createTokenTable(
    text,
    offsets,
    (id) => ((kinds[id] as number) & (SPECIAL | OUTSIDE_MERGES)) === 0,
  );
  const byteIds = findByteIds(table);
  const byteValues = new Int16Array(tokenCount).fill(-1);
  for (let byte = 0; byte < 256; byte++) byteValues[byteIds[byte] as number] = byte;
  const addedIds: number[] = [];
  for (let id = 0; id < tokenCount; id++) {
    if (((kinds[id] as number) & (ADDED | SPECIAL)) === ADDED) addedIds.push(id);
  }

  const listedCount = fields.merges.length / 2;
  if (listedCount + tokenCount * RANKS_PER_TOKEN > MAX_MERGE_RANK) {
    throw new ServeError(
      'unsupported_model',
      `The vocabulary has ${tokenCount} tokens and ${listedCount} listed merges, more than we can rank.`,
    );
  }
  const listed = createMergeTable(fields.merges);
  const isListed = markMerged(fields.merges, text, offsets, table);
  const { followsFromVocabulary } = fields;
  return {
    sourceSha256: toHex(fields.sourceSha256),
    tokenCount,
    special: toSpecialTokens(fields.specialIds, kinds),
    text,
    offsets,
    byteIds,
    byteValues,
    addedIds,
    table,
    joinsSpace: fields.joinsSpace,
    mergeRank(merged, left, right, leftBytes) {
      if (isListed[merged] === 1) return listed.rank(left, right);
      if (!followsFromVocabulary) return -1;
      // By id, then the longest left part first.
      return listedCount + merged * RANKS_PER_TOKEN + (RANKS_PER_TOKEN - 1 - leftBytes);
    },
  };
}

function toOffsets(lengths: Uint8Array, textBytes: number): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  let at = 0;
  for (let id = 0; id < lengths.length; id++) {
    at += lengths[id] as number;
    offsets[id + 1] = at;
  }
  if (at !== textBytes) {
    throw new ServeError(
      'invalid_checkpoint',
      `The compact vocabulary is damaged: its spellings take ${at} bytes, its text has ${textBytes}.`,
    );
  }
  return offsets;
}

/** [tokenCount]; 1 for tokens that a listed merge makes. */
function markMerged(
  merges: Int32Array,
  text: Uint8Array,
  offsets: Int32Array,
  table: TokenTable,
): Uint8Array {
  const isListed = new Uint8Array(offsets.length - 1);
  const joined = new Uint8Array(512);
  for (let k = 0; k < merges.length; k += 2) {
    let length = 0;
    for (let side = 0; side < 2; side++) {
      const id = merges[k + side] as number;
      const end = offsets[id + 1] as number;
      for (let at = offsets[id] as number; at < end; at++) joined[length++] = text[at] as number;
    }
    const merged = table.find(hashBytes(joined, 0, length), joined, 0, length);
    if (merged >= 0) isListed[merged] = 1;
  }
  return isListed;
}

function findByteIds(table: TokenTable): Int32Array {
  const encoder = new TextEncoder();
  const ids = new Int32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    const hex = byte.toString(16).toUpperCase().padStart(2, '0');
    const spelling = encoder.encode(`<0x${hex}>`);
    const id = table.find(hashBytes(spelling, 0, spelling.length), spelling, 0, spelling.length);
    if (id < 0) {
      throw new ServeError(
        'invalid_checkpoint',
        `The vocabulary has no token <0x${hex}>: byte fallback needs all 256 of them.`,
      );
    }
    ids[byte] = id;
  }
  return ids;
}

function toSpecialTokens(ids: readonly number[], kinds: Uint8Array): SpecialTokens {
  const all = new Set<number>();
  for (let id = 0; id < kinds.length; id++) {
    if (((kinds[id] as number) & SPECIAL) !== 0) all.add(id);
  }
  const [bos, eos, pad, unknown, startOfTurn, endOfTurn] = ids as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    bos,
    eos,
    pad,
    unknown,
    startOfTurn,
    endOfTurn,
    startOfImage: idOrNull(ids[6]),
    endOfImage: idOrNull(ids[7]),
    imageSoftToken: idOrNull(ids[8]),
    all,
  };
}

function idOrNull(id: number | undefined): number | null {
  return id === undefined || id < 0 ? null : id;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
