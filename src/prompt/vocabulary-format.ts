import { ServeError } from '../errors.ts';

/**
 * The compact vocabulary, one file, little-endian:
 *
 *     0   8 bytes   "GEMVOCAB"
 *     8   u32       version, 1
 *    12   u32       flags: bit 0, merges that are not listed follow from the vocabulary
 *    16   32 bytes  SHA-256 of the tokenizer.json it was made from
 *    48   u32       token count
 *    52   u32       bytes of text
 *    56   u32       listed merges
 *    60   u32       ranges of token kinds
 *    64   9 x i32   special ids in the order of SPECIAL_NAMES, -1 for none
 *   100   32 bytes  one bit per byte value: some token has it right before a U+2581 inside it
 *   132   ranges    (u32 first id, u32 count, u32 kind bits); ids in no range are of kind 0
 *         merges    (u32 left id, u32 right id) in order of rank
 *         lengths   u8 per token
 *         text      the spellings, UTF-8, in order of ids
 */
export interface VocabularyFields {
  readonly followsFromVocabulary: boolean;
  /** 32 bytes. */
  readonly sourceSha256: Uint8Array;
  /** In the order of SPECIAL_NAMES, -1 for none. */
  readonly specialIds: readonly number[];
  /** [256]; 1 for bytes that some token has right before a U+2581 inside it. */
  readonly joinsSpace: Uint8Array;
  /** One set of kind bits per token. */
  readonly kinds: Uint8Array;
  /** [count, 2] */
  readonly merges: Int32Array;
  /** One per token, in bytes. */
  readonly lengths: Uint8Array;
  readonly text: Uint8Array;
}

/** Kind bits of a token. */
export const SPECIAL = 1;
/** Matched in raw text before anything else. */
export const ADDED = 2;
/** Known as an added token only: merges never reach it. */
export const OUTSIDE_MERGES = 4;

/** Spellings of the tokens that have a role; the first REQUIRED_SPECIALS must exist. */
export const SPECIAL_NAMES = [
  '<bos>',
  '<eos>',
  '<pad>',
  '<unk>',
  '<start_of_turn>',
  '<end_of_turn>',
  '<start_of_image>',
  '<end_of_image>',
  '<image_soft_token>',
] as const;
export const REQUIRED_SPECIALS = 6;

const MAGIC = 'GEMVOCAB';
const VERSION = 1;
const JOINS_AT = 100;
const HEADER_BYTES = 132;
const RANGE_BYTES = 12;
const MERGE_BYTES = 8;
const FOLLOWS_FLAG = 1;

export function writeVocabulary(fields: VocabularyFields): Uint8Array<ArrayBuffer> {
  const ranges = toRanges(fields.kinds);
  const mergeCount = fields.merges.length / 2;
  const lengthsAt = HEADER_BYTES + ranges.length * RANGE_BYTES + mergeCount * MERGE_BYTES;
  const bytes = new Uint8Array(lengthsAt + fields.lengths.length + fields.text.length);
  const view = new DataView(bytes.buffer);
  for (let k = 0; k < MAGIC.length; k++) bytes[k] = MAGIC.charCodeAt(k);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, fields.followsFromVocabulary ? FOLLOWS_FLAG : 0, true);
  bytes.set(fields.sourceSha256, 16);
  view.setUint32(48, fields.lengths.length, true);
  view.setUint32(52, fields.text.length, true);
  view.setUint32(56, mergeCount, true);
  view.setUint32(60, ranges.length, true);
  for (const [k, id] of fields.specialIds.entries()) view.setInt32(64 + 4 * k, id, true);
  for (const [byte, joins] of fields.joinsSpace.entries()) {
    if (joins !== 0)
      bytes[JOINS_AT + (byte >> 3)] = (bytes[JOINS_AT + (byte >> 3)] ?? 0) | (1 << (byte & 7));
  }

  let at = HEADER_BYTES;
  for (const range of ranges) {
    for (const [k, value] of range.entries()) view.setUint32(at + 4 * k, value, true);
    at += RANGE_BYTES;
  }
  for (const id of fields.merges) {
    view.setUint32(at, id, true);
    at += 4;
  }
  bytes.set(fields.lengths, lengthsAt);
  bytes.set(fields.text, lengthsAt + fields.lengths.length);
  return bytes;
}

/** @throws ServeError invalid_checkpoint when the bytes are not a whole vocabulary of this version */
export function readVocabulary(bytes: Uint8Array): VocabularyFields {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let k = 0; k < MAGIC.length; k++) {
    if (bytes[k] !== MAGIC.charCodeAt(k)) {
      throw invalid('it does not start with "GEMVOCAB"; is it a tokenizer.json? Build it first');
    }
  }
  if (bytes.length < HEADER_BYTES) throw invalid(`it ends after ${bytes.length} bytes`);
  const version = view.getUint32(8, true);
  if (version !== VERSION) {
    throw invalid(`it has version ${version}, this gemlet reads ${VERSION}; build it again`);
  }
  const tokenCount = view.getUint32(48, true);
  const textBytes = view.getUint32(52, true);
  const mergeCount = view.getUint32(56, true);
  const rangeCount = view.getUint32(60, true);
  const mergesAt = HEADER_BYTES + rangeCount * RANGE_BYTES;
  const lengthsAt = mergesAt + mergeCount * MERGE_BYTES;
  const textAt = lengthsAt + tokenCount;
  if (textAt + textBytes !== bytes.length) {
    throw invalid(`its header speaks of ${textAt + textBytes} bytes, it has ${bytes.length}`);
  }

  const specialIds = SPECIAL_NAMES.map((_, k) => view.getInt32(64 + 4 * k, true));
  for (const [k, id] of specialIds.entries()) {
    if (id >= tokenCount || (id < 0 && k < REQUIRED_SPECIALS)) {
      throw invalid(`${SPECIAL_NAMES[k]} has id ${id} of ${tokenCount} tokens`);
    }
  }
  const merges = new Int32Array(2 * mergeCount);
  for (let k = 0; k < merges.length; k++) {
    const id = view.getUint32(mergesAt + 4 * k, true);
    if (id >= tokenCount) throw invalid(`a merge names id ${id} of ${tokenCount} tokens`);
    merges[k] = id;
  }
  return {
    followsFromVocabulary: (view.getUint32(12, true) & FOLLOWS_FLAG) !== 0,
    sourceSha256: bytes.slice(16, 48),
    specialIds,
    joinsSpace: Uint8Array.from(
      { length: 256 },
      (_, byte) => ((bytes[JOINS_AT + (byte >> 3)] ?? 0) >> (byte & 7)) & 1,
    ),
    kinds: readKinds(view, rangeCount, tokenCount),
    merges,
    lengths: bytes.subarray(lengthsAt, textAt),
    text: bytes.subarray(textAt),
  };
}

function readKinds(view: DataView, rangeCount: number, tokenCount: number): Uint8Array {
  const kinds = new Uint8Array(tokenCount);
  for (let k = 0; k < rangeCount; k++) {
    const at = HEADER_BYTES + k * RANGE_BYTES;
    const first = view.getUint32(at, true);
    const end = first + view.getUint32(at + 4, true);
    if (end > tokenCount) throw invalid(`a range ends at id ${end} of ${tokenCount} tokens`);
    kinds.fill(view.getUint32(at + 8, true), first, end);
  }
  return kinds;
}

/** [first id, count, kind] of every run of equal kinds but 0. */
function toRanges(kinds: Uint8Array): [number, number, number][] {
  const ranges: [number, number, number][] = [];
  for (let id = 0; id < kinds.length;) {
    const kind = kinds[id] as number;
    let end = id + 1;
    while (end < kinds.length && kinds[end] === kind) end++;
    if (kind !== 0) ranges.push([id, end - id, kind]);
    id = end;
  }
  return ranges;
}

function invalid(what: string): ServeError {
  return new ServeError('invalid_checkpoint', `The compact vocabulary cannot be read: ${what}.`);
}
