import { expect } from 'vitest';
import type { Backend, DecodeEntry, KvPage, PrefillChunk } from '../../src/engine/backend.ts';
import { ringCapacity } from '../../src/engine/row-ring.ts';
import { chunkLength } from '../../src/engine/scheduler.ts';
import type { VisionConfig } from '../../src/model/config.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

export function none(): Float32Array {
  return new Float32Array(0);
}

/** Plain text ids, the same for the same seed. */
export function someTokens(seed: number, count: number): Int32Array {
  const random = createSeededRandom(seed);
  return Int32Array.from({ length: count }, () => random.integer(9, 63));
}

export function somePixels(seed: number, vision: VisionConfig): Float32Array {
  const random = createSeededRandom(seed);
  const count = 3 * vision.imageSize * vision.imageSize;
  return Float32Array.from({ length: count }, () => random.next() * 2 - 1);
}

/** A length at which local rings have dropped tokens, in tokens. */
export function longLength(backend: Backend): number {
  const { text, vision } = backend.config;
  const { windowTokens } = text;
  const longestStep = Math.max(backend.chunkTokens, vision?.tokensPerImage ?? 0);
  const length = ringCapacity({ windowTokens, chunkTokens: longestStep }) + windowTokens + 5;
  expect(backend.rowTokens).toBeGreaterThanOrEqual(length + 16);
  return length;
}

export function requireVision(backend: Backend): VisionConfig {
  const { vision } = backend.config;
  if (vision === null) throw new Error('the contract needs a backend with a vision tower');
  return vision;
}

export function textChunk(row: number, start: number, tokens: Int32Array): PrefillChunk {
  return { row, start, tokens, image: null, logits: 'last' };
}

export function imageChunk(
  row: number,
  start: number,
  vision: VisionConfig,
  image: Float32Array,
): PrefillChunk {
  const tokens = new Int32Array(vision.tokensPerImage).fill(vision.imageTokenId);
  return { row, start, tokens, image, logits: 'last' };
}

/**
 * Appends tokens to a row in chunks as the scheduler would cut them.
 * @returns a copy of the last position's logits
 */
export async function prefill(
  backend: Backend,
  row: number,
  tokens: Int32Array,
  chunkTokens: number = backend.chunkTokens,
): Promise<Float32Array> {
  let logits = none();
  for (let from = 0; from < tokens.length;) {
    const left = tokens.length - from;
    const count = chunkLength(left, Math.max(3, chunkTokens));
    const part = tokens.subarray(from, from + count);
    const chunk = textChunk(row, backend.length(row), part);
    logits = Float32Array.from((await backend.forward({ decode: [], chunk })).chunk);
    from += count;
  }
  return logits;
}

/** Decodes one token for each [row, token]; returns copies of the logits. */
export async function decode(
  backend: Backend,
  entries: readonly (readonly [row: number, token: number])[],
): Promise<Float32Array[]> {
  const { vocabSize } = backend.config.text;
  const step: DecodeEntry[] = entries.map(([row, token]) => ({
    row,
    start: backend.length(row),
    token,
  }));
  const { decode: logits } = await backend.forward({ decode: step, chunk: null });
  return step.map((_, index) => logits.slice(index * vocabSize, (index + 1) * vocabSize));
}

export function largestDifference(
  a: Float32Array | undefined,
  b: Float32Array | undefined,
): number {
  const [first, second] = [a ?? none(), b ?? none()];
  expect(first.length).toBe(second.length);
  expect(first.length).toBeGreaterThan(0);
  let most = 0;
  for (let at = 0; at < first.length; at++) {
    const difference = Math.abs((first[at] ?? 0) - (second[at] ?? 0));
    // NaN must not slip through a comparison.
    if (!(difference <= most)) most = difference;
    if (Number.isNaN(most)) return most;
  }
  return most;
}

/** Equal to the bit. */
export function expectSame(
  actual: Float32Array | undefined,
  expected: Float32Array | undefined,
): void {
  expect(largestDifference(actual, expected)).toBe(0);
}

/**
 * Goes on with a row by all kinds of steps, so far that its ring moves.
 * @returns copies of the logits on the way, one after the other
 */
export async function goOn(backend: Backend, row: number): Promise<Float32Array> {
  const vision = requireVision(backend);
  const parts = await decode(backend, [[row, 40]]);
  parts.push(await prefill(backend, row, someTokens(901, 8)));
  const image = await backend.encodeImages(somePixels(902, vision), 1);
  const chunk = imageChunk(row, backend.length(row), vision, image);
  parts.push(Float32Array.from((await backend.forward({ decode: [], chunk })).chunk));
  parts.push(await prefill(backend, row, someTokens(903, longLength(backend))));
  parts.push(...(await decode(backend, [[row, 41]])));
  return Float32Array.from(parts.flatMap((part) => Array.from(part)));
}

/**
 * Fills an empty row until its local layers have dropped the start, and with 96 tokens at least.
 * @returns the tokens
 */
export async function fillBeyondRing(
  backend: Backend,
  row: number,
  seed: number,
): Promise<Int32Array> {
  const tokens = someTokens(seed, backend.rowTokens);
  const { windowTokens } = backend.config.text;
  let length = 0;
  while (length < Math.max(96, windowTokens) || backend.canCut(row, windowTokens - 1)) {
    const end = length + Math.min(backend.chunkTokens, 32);
    if (end > tokens.length) throw new Error(`a ring that drops nothing in ${length} tokens`);
    await prefill(backend, row, tokens.subarray(length, end));
    length = end;
  }
  return tokens.subarray(0, length);
}

/** Reads tokens [0, length) of a row as pages of these sizes, over and over. */
export async function readPages(
  backend: Backend,
  row: number,
  length: number,
  sizes: readonly number[],
): Promise<KvPage[]> {
  const pages: KvPage[] = [];
  for (let from = 0; from < length;) {
    const to = Math.min(length, from + (sizes[pages.length % sizes.length] ?? 1));
    pages.push(await backend.readKv(row, from, to));
    from = to;
  }
  return pages;
}
