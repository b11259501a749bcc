import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/engine/backend.ts';
import { greedy, loadOnnx, promptParts, TINY_FOLDER } from '../../support/onnx-model.ts';

interface Golden {
  readonly text_ids: number[];
  readonly text_logits: number[][];
  readonly image_features: number[][][];
  readonly mm_ids: number[];
  readonly mm_logits: number[][];
  readonly greedy_prompt: number[];
  readonly greedy: number[];
  readonly mm_greedy: number[];
}

const golden = JSON.parse(readFileSync(`${TINY_FOLDER}golden.json`, 'utf8')) as Golden;
const IMAGE_TOKEN = 100;
const TOKENS_PER_IMAGE = 4;
/** fp32 against fp32: what summing in another order may cost. */
const TOLERANCE = 1e-4;

/** The reference's pixels: ((i * 7919) % 256) / 255 * 2 - 1; the second image is the negative. */
function goldenPixels(): Float32Array {
  const size = 3 * 56 * 56;
  const pixels = new Float32Array(2 * size);
  for (let i = 0; i < size; i++) {
    const value = (((i * 7919) % 256) / 255) * 2 - 1;
    pixels[i] = value;
    pixels[size + i] = -value;
  }
  return pixels;
}

function largestDifference(actual: Float32Array, expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  let largest = 0;
  for (const [i, value] of expected.entries()) {
    largest = Math.max(largest, Math.abs((actual[i] as number) - value));
  }
  return largest;
}

describe.each(['exact', 'fast'] as const)('the tiny model, %s', (precision) => {
  // int8 activations on a random model of width 64 are coarse; the demo model shows their quality.
  const tolerance = precision === 'exact' ? TOLERANCE : 0.1;
  let backend: Backend;
  beforeAll(async () => {
    backend = await loadOnnx(TINY_FOLDER, { precision });
  });
  afterAll(() => backend.close());

  it('gives the logits of the reference for text, whole and in chunks', async () => {
    for (const sizes of [[20], [3, 5, 2, 7, 3]]) {
      backend.truncate(1, 0);
      let start = 0;
      for (const size of sizes) {
        const tokens = Int32Array.from(golden.text_ids.slice(start, start + size));
        const step = await backend.forward({
          decode: [],
          chunk: { row: 1, start, tokens, image: null, logits: 'all' },
        });
        const expected = golden.text_logits.slice(start, start + size).flat();
        expect(largestDifference(step.chunk, expected)).toBeLessThan(tolerance);
        start += size;
      }
    }
  });

  it('gives the image features of the reference', async () => {
    const features = await backend.encodeImages(goldenPixels(), 2);
    expect(largestDifference(features, golden.image_features.flat(2))).toBeLessThan(TOLERANCE);
  });

  it('gives the logits of the reference for two images, which do not see each other', async () => {
    const features = await backend.encodeImages(goldenPixels(), 2);
    const size = features.length / 2;
    backend.truncate(0, 0);
    let last: Float32Array = new Float32Array(0);
    for (const { from, to, image } of promptParts(golden.mm_ids, IMAGE_TOKEN, TOKENS_PER_IMAGE)) {
      const step = await backend.forward({
        decode: [],
        chunk: {
          row: 0,
          start: from,
          tokens: Int32Array.from(golden.mm_ids.slice(from, to)),
          image: image === null ? null : features.subarray(image * size, (image + 1) * size),
          logits: 'all',
        },
      });
      const expected = golden.mm_logits.slice(from, to).flat();
      expect(largestDifference(step.chunk, expected)).toBeLessThan(tolerance);
      last = step.chunk.slice(-128);
    }
    if (precision === 'fast') return; // Near ties may fall either way.
    const made = await greedy(backend, 0, last, golden.mm_greedy.length - golden.mm_ids.length);
    expect([...golden.mm_ids, ...made]).toEqual(golden.mm_greedy);
  });

  if (precision === 'fast') return;
  it('decodes like the reference across the window', async () => {
    backend.truncate(0, 0);
    const tokens = Int32Array.from(golden.greedy_prompt);
    const step = await backend.forward({
      decode: [],
      chunk: { row: 0, start: 0, tokens, image: null, logits: 'last' },
    });
    const count = golden.greedy.length - tokens.length;
    const made = await greedy(backend, 0, step.chunk, count);
    expect([...golden.greedy_prompt, ...made]).toEqual(golden.greedy);
  });
});
