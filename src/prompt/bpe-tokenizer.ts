import { createUtf8Writer, isUtf8 } from '../lib/utf8.ts';
import { createAddedTokenMatcher } from './added-tokens.ts';
import { createBpeEncoder } from './bpe.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { Vocabulary } from './vocabulary.ts';

const NO_BYTES: Uint8Array = new Uint8Array(0);

/** Every byte once, in order; byte tokens are views of it. */
const ALL_BYTES: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => byte);

/**
 * The tokenizer of a compact vocabulary, equal token for token to the Hugging Face one, but for the
 * special tokens: text never becomes one, only `control` segments do. Lone surrogates become U+FFFD.
 */
export function createTokenizer(vocabulary: Vocabulary): Tokenizer {
  const { special, text, offsets, byteValues, tokenCount } = vocabulary;
  const encoder = new TextEncoder();
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const added = createAddedTokenMatcher(vocabulary.addedIds, text, offsets);
  const bpe = createBpeEncoder(vocabulary);

  function encodeInto(input: string, ids: number[]): void {
    // TextEncoder makes lone surrogates U+FFFD, as toWellFormed does.
    const bytes = encoder.encode(input);
    let gapFrom = 0;
    for (let at = 0; at < bytes.length;) {
      const id = added.match(bytes, at, bytes.length);
      if (id < 0) {
        at++;
        continue;
      }
      if (gapFrom < at) bpe.encode(bytes, gapFrom, at, ids);
      ids.push(id);
      at += (offsets[id + 1] as number) - (offsets[id] as number);
      gapFrom = at;
    }
    if (gapFrom < bytes.length) bpe.encode(bytes, gapFrom, bytes.length, ids);
  }

  function hasToken(id: number): boolean {
    return Number.isInteger(id) && id >= 0 && id < tokenCount;
  }

  function spellingBytes(id: number): Uint8Array {
    return text.subarray(offsets[id], offsets[id + 1]);
  }

  let longestTokenBytes = 0;
  for (let id = 0; id < tokenCount; id++) {
    // A space is spelled with three bytes, so this bounds the raw text from above.
    longestTokenBytes = Math.max(
      longestTokenBytes,
      (offsets[id + 1] as number) - (offsets[id] as number),
    );
  }

  return {
    vocabSize: tokenCount,
    special,
    longestTokenBytes,
    encode(input) {
      const ids: number[] = [];
      encodeInto(input, ids);
      return ids;
    },
    encodeSegments(segments) {
      const ids: number[] = [];
      let pending = '';
      for (const segment of segments) {
        if (segment.type === 'text') {
          pending += segment.text;
          continue;
        }
        if (!hasToken(segment.id)) {
          throw new RangeError(`control token ${segment.id} is not one of ${tokenCount} tokens`);
        }
        if (pending !== '') encodeInto(pending, ids);
        pending = '';
        ids.push(segment.id);
      }
      if (pending !== '') encodeInto(pending, ids);
      return ids;
    },
    bytes(id) {
      if (!hasToken(id) || special.all.has(id)) return NO_BYTES;
      const byte = byteValues[id] as number;
      return byte >= 0 ? ALL_BYTES.subarray(byte, byte + 1) : withSpaces(spellingBytes(id));
    },
    spelling(id) {
      return hasToken(id) ? decoder.decode(spellingBytes(id)) : '';
    },
    decode(ids, options = {}) {
      const keepSpecial = options.keepSpecial === true;
      const writer = createUtf8Writer(ids.length * 5);
      // Byte tokens next to each other are one run: valid as a whole, or replaced byte by byte.
      let run: number[] = [];
      const endRun = (): void => {
        if (run.length === 0) return;
        const bytes = Uint8Array.from(run);
        if (isUtf8(bytes, 0, bytes.length)) writer.append(bytes);
        else writer.appendReplacement(bytes.length);
        run = [];
      };
      for (const id of ids) {
        // Rows without a token, and special tokens, do not end a run: the reference drops them first.
        if (!hasToken(id) || (!keepSpecial && special.all.has(id))) continue;
        const byte = byteValues[id] as number;
        if (byte >= 0) {
          run.push(byte);
        } else {
          endRun();
          writer.append(withSpaces(spellingBytes(id)));
        }
      }
      endRun();
      return writer.take();
    },
  };
}

/** The spelling with U+2581 written as the space it stands for; the same bytes if it holds none. */
function withSpaces(spelling: Uint8Array): Uint8Array {
  let markCount = 0;
  for (let at = 0; at < spelling.length; at++) if (isMark(spelling, at)) markCount++;
  if (markCount === 0) return spelling;
  const bytes = new Uint8Array(spelling.length - 2 * markCount);
  let at = 0;
  for (let to = 0; to < bytes.length; to++) {
    const isSpace = isMark(spelling, at);
    bytes[to] = isSpace ? 0x20 : (spelling[at] as number);
    at += isSpace ? 3 : 1;
  }
  return bytes;
}

/** Whether U+2581 begins there. */
function isMark(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0xe2 && bytes[at + 1] === 0x96 && bytes[at + 2] === 0x81;
}
