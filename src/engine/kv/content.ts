import type { PreparedPrompt } from '../engine.ts';

/** Hex digits of a hash that make one word. */
const WORD_DIGITS = 8;
/** Set in every word of an image, so that none equals a token's id. */
const IMAGE_BIT = 0x8000_0000 | 0;

/**
 * What a prompt's keys and values depend on, one word a position: the token's id, or at an image's
 * soft tokens a negative word of its pixels' SHA-256. Equal words, equal content: 31 bits a position,
 * so that even a run of four tells images apart.
 */
export function contentOf(prompt: PreparedPrompt, tokensPerImage: number): Int32Array {
  const words = Int32Array.from(prompt.tokens);
  for (const { position, image } of prompt.images) {
    const hash = wordsOfHash(image.sha256, tokensPerImage);
    for (let at = 0; at < tokensPerImage; at++) {
      words[position + at] = (hash[at % hash.length] ?? 0) | IMAGE_BIT;
    }
  }
  return words;
}

/** How many words two contents share from the start on. */
export function commonPrefix(a: Int32Array, b: Int32Array, limit: number): number {
  const end = Math.min(a.length, b.length, limit);
  let at = 0;
  while (at < end && a[at] === b[at]) at++;
  return at;
}

/**
 * The longest reusable length up to `length`: reuse never ends inside an image, whose tokens see
 * each other in both directions.
 * @param imagePositions first soft token of each image, ascending
 */
export function outsideImages(
  length: number,
  imagePositions: readonly number[],
  tokensPerImage: number,
): number {
  for (const position of imagePositions) {
    if (position >= length) return length;
    if (length < position + tokensPerImage) return position;
  }
  return length;
}

/** The hash as words, folded onto `limit` of them where a run is shorter than the hash. */
function wordsOfHash(hex: string, limit: number): Int32Array {
  const count = Math.ceil(hex.length / WORD_DIGITS);
  const words = new Int32Array(Math.max(1, Math.min(count, limit)));
  for (let at = 0; at < count; at++) {
    const word = Number.parseInt(hex.slice(at * WORD_DIGITS, (at + 1) * WORD_DIGITS), 16);
    words[at % words.length] = (words[at % words.length] ?? 0) ^ word;
  }
  return words;
}
