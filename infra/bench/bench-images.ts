import { createHash } from 'node:crypto';
import type { PromptImage } from '../../src/engine/engine.ts';
import { randomTokens } from './measure.ts';
import { createRandom } from './random.ts';

export interface PromptWithImages {
  readonly tokens: Int32Array;
  readonly images: readonly PromptImage[];
}

export interface ImageShape {
  readonly vocabSize: number;
  /** Side, in pixels; a multiple of 2. */
  readonly imageSize: number;
  readonly tokensPerImage: number;
}

/** Text, then `imageCount` random images with text after each; the same seed gives the same. */
export function promptWithImages(
  seed: string,
  imageCount: number,
  textTokens: number,
  { vocabSize, imageSize, tokensPerImage }: ImageShape,
): PromptWithImages {
  const tokens: number[] = [...randomTokens(seed, textTokens, vocabSize)];
  const images: PromptImage[] = [];
  for (let at = 0; at < imageCount; at++) {
    const words = new Uint32Array((3 * imageSize * imageSize) / 4);
    createRandom(`${seed}/image ${at}`).draw(words);
    const rgb = new Uint8Array(words.buffer);
    const sha256 = createHash('sha256').update(rgb).digest('hex');
    images.push({ position: tokens.length, image: { rgb, sha256 } });
    // The engine replaces what stands at soft tokens.
    tokens.push(...new Int32Array(tokensPerImage));
    tokens.push(...randomTokens(`${seed}/${at}`, textTokens, vocabSize));
  }
  return { tokens: Int32Array.from(tokens), images };
}
