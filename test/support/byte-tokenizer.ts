import type { Tokenizer } from '../../src/prompt/tokenizer.ts';

/** Id of byte 0; the ids below are the special tokens of `fakeModelConfig`. */
export const FIRST_BYTE_ID = 9;

const SPECIAL = ['pad', 'eos', 'bos', 'unk', 'start_of_turn', 'end_of_turn', 'start_of_image'];
const SPELLINGS = [...SPECIAL, 'end_of_image', 'image_soft_token'].map((name) => `<${name}>`);

/** A real tokenizer with a trivial vocabulary: one token per byte, after nine special ones. */
export function createByteTokenizer(): Tokenizer {
  const encode = (text: string): number[] =>
    Array.from(new TextEncoder().encode(text), (byte) => byte + FIRST_BYTE_ID);
  const bytes = (id: number): Uint8Array =>
    id < FIRST_BYTE_ID ? new Uint8Array(0) : Uint8Array.of(id - FIRST_BYTE_ID);
  return {
    vocabSize: FIRST_BYTE_ID + 256,
    longestTokenBytes: 1,
    special: {
      pad: 0,
      eos: 1,
      bos: 2,
      unknown: 3,
      startOfTurn: 4,
      endOfTurn: 5,
      startOfImage: 6,
      endOfImage: 7,
      imageSoftToken: 8,
      all: new Set([0, 1, 2, 3, 4, 5, 6, 7, 8]),
    },
    encode,
    encodeSegments: (segments) =>
      segments.flatMap((segment) =>
        segment.type === 'text' ? encode(segment.text) : [segment.id],
      ),
    bytes,
    spelling: (id) => SPELLINGS[id] ?? String.fromCharCode(id - FIRST_BYTE_ID),
    decode(ids, options) {
      const parts = ids.map((id) =>
        id < FIRST_BYTE_ID && options?.keepSpecial === true
          ? new TextEncoder().encode(SPELLINGS[id])
          : bytes(id),
      );
      return new TextDecoder('utf-8', { ignoreBOM: true }).decode(
        Uint8Array.from(parts.flatMap((part) => Array.from(part))),
      );
    },
  };
}
