import { createFakeBackend } from '../../adapters/fake/backend.ts';
import type { FakeBackend, FakeBackendOptions } from '../../adapters/fake/backend.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { Backend } from '../../src/engine/backend.ts';
import type {
  Engine,
  GenerateEvent,
  PreparedImage,
  PreparedPrompt,
  SamplingParams,
} from '../../src/engine/engine.ts';
import { tokenBytesOf } from '../../src/engine-completer.ts';
import { createLocalEngine } from '../../src/engine/local-engine.ts';
import type { LocalEngineOptions } from '../../src/engine/local-engine.ts';
import { createByteTokenizer, FIRST_BYTE_ID } from './byte-tokenizer.ts';
import { createSimulatedClock } from './fake-clock.ts';

export interface TestEngine {
  readonly engine: Engine;
  readonly backend: FakeBackend;
}

/** A local engine over the fake backend, perhaps wrapped, and the byte tokenizer. */
export function createTestEngine(
  options: Partial<LocalEngineOptions> = {},
  backendOptions: FakeBackendOptions = {},
  wrap: (backend: Backend) => Backend = (backend) => backend,
): TestEngine {
  const config = backendOptions.config ?? fakeModelConfig({ maxPositions: 512 });
  const backend = createFakeBackend({ ...backendOptions, config });
  const engine = createLocalEngine({
    backend: wrap(backend),
    tokens: tokenBytesOf(createByteTokenizer(), config),
    model: { config, contextTokens: config.text.maxPositions, precision: 'fast' },
    toPixels,
    clock: createSimulatedClock(),
    maxWaiting: 64,
    ...options,
  });
  return { engine, backend };
}

/** The plain pixels of an image, planes first, as any model would get them. */
export function toPixels(images: readonly PreparedImage[]): Float32Array {
  const size = images[0]?.rgb.length ?? 0;
  const pixels = new Float32Array(images.length * size);
  for (const [index, { rgb }] of images.entries()) {
    for (let at = 0; at < size; at++) pixels[index * size + at] = (rgb[at] ?? 0) / 255;
  }
  return pixels;
}

/** An image of the fake model's size; equal numbers give equal images. */
export function testImage(number: number, imageSize = 8): PreparedImage {
  const rgb = new Uint8Array(3 * imageSize * imageSize);
  for (let at = 0; at < rgb.length; at++) rgb[at] = (at * 7 + number * 31) & 0xff;
  return { rgb, sha256: number.toString(16).padStart(64, '0') };
}

/** `<bos>` and the text; a number stands for an image with its markers. */
export function testPrompt(...parts: readonly (string | number)[]): PreparedPrompt {
  const tokens = [2];
  const images: { position: number; image: PreparedImage }[] = [];
  for (const part of parts) {
    if (typeof part === 'string') {
      for (const byte of new TextEncoder().encode(part)) tokens.push(byte + FIRST_BYTE_ID);
      continue;
    }
    tokens.push(6);
    images.push({ position: tokens.length, image: testImage(part) });
    tokens.push(8, 8, 8, 8, 7);
  }
  return { tokens: Int32Array.from(tokens), images, assistantSpans: [], scope: '' };
}

export const GREEDY: SamplingParams = {
  maxTokens: 8,
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  logitBias: new Map(),
  seed: 0,
  stop: [],
  stopIds: [],
  allowedIds: null,
  minTokens: 0,
  ignoreEos: true,
  includesStop: false,
  logprobs: null,
  promptLogprobs: null,
};

export async function collect(events: AsyncIterable<GenerateEvent>): Promise<GenerateEvent[]> {
  const all: GenerateEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** Ids of the token events. */
export function idsOf(events: readonly GenerateEvent[]): number[] {
  return events.flatMap((event) => (event.type === 'token' ? [event.id] : []));
}

/** The same events, to be read by hand. */
export async function* reading(
  events: AsyncIterable<GenerateEvent>,
): AsyncGenerator<GenerateEvent, void, undefined> {
  yield* events;
}
