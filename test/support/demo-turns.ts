import type { Backend } from '../../src/engine/backend.ts';
import type {
  GenerateEvent,
  PreparedImage,
  PreparedPrompt,
  SamplingParams,
} from '../../src/engine/engine.ts';
import {
  createLocalEngine,
  type LocalEngine,
  type LocalEngineOptions,
} from '../../src/engine/local-engine.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { GREEDY } from './engine-harness.ts';
import type { SeededRandom } from './seeded-random.ts';

const NO_BYTES = new Uint8Array(0);
/** Of conversations on the demo model. */
export const DEMO_CONTEXT = 768;
export const DEMO_PAGE_TOKENS = 64;
/** Keys that were rounded otherwise: top logits nearer than this may swap. */
const MARGIN_NATS = 0.25;

/** An engine over the demo model. */
export function createDemoEngine(
  backend: Backend,
  options: Pick<LocalEngineOptions, 'kvBudgetBytes' | 'sliceMs' | 'kvStore'>,
): LocalEngine {
  const { config } = backend;
  const { imageSize = 0 } = config.vision ?? {};
  return createLocalEngine({
    backend,
    tokens: { vocabSize: config.text.vocabSize, bytes: () => NO_BYTES, suppressed: [] },
    model: { config, contextTokens: DEMO_CONTEXT, precision: 'fast' },
    toPixels: (images) =>
      Float32Array.from(
        { length: images.length * 3 * imageSize * imageSize },
        (_, at) => ((images[0]?.rgb[at % 48] ?? 0) / 255 - 0.5) * 2,
      ),
    clock: systemClock,
    maxWaiting: 64,
    pageTokens: DEMO_PAGE_TOKENS,
    imageCacheBytes: 1e6,
    ...options,
  });
}

function someImage(number: number): PreparedImage {
  const rgb = Uint8Array.from({ length: 48 }, (_, at) => (at * 37 + number * 91) & 255);
  return { rgb, sha256: number.toString(16).padStart(64, '0') };
}

/** The next turn: what was answered, new text, and now and then an image. */
export function extendDemo(
  random: SeededRandom,
  prompt: PreparedPrompt,
  ids: readonly number[],
  tokensPerImage: number,
): PreparedPrompt {
  const text = Array.from({ length: random.integer(3, 60) }, () => random.integer(100, 1900));
  const tokens = [...prompt.tokens, ...ids, ...text];
  const images = [...prompt.images];
  if (random.chance(0.25)) {
    images.push({ position: tokens.length, image: someImage(random.integer(0, 3)) });
    for (let at = 0; at < tokensPerImage; at++) tokens.push(2047);
    tokens.push(random.integer(100, 1900), random.integer(100, 1900));
  }
  return { ...prompt, tokens: Int32Array.from(tokens), images };
}

export const DEMO_PARAMS: SamplingParams = { ...GREEDY, maxTokens: 12, logprobs: 2 };

export type TokenEvent = Extract<GenerateEvent, { type: 'token' }>;

export const tokensOf = (events: readonly GenerateEvent[]): readonly TokenEvent[] =>
  events.filter((event) => event.type === 'token');

/**
 * @returns whether two answers differ where the first one's two best tokens were nearly equal
 * @throws Error where they differ otherwise
 */
export function differsWithinMargin(
  answer: readonly TokenEvent[],
  other: readonly TokenEvent[],
): boolean {
  const at = answer.findIndex(({ id }, index) => other[index]?.id !== id);
  if (at < 0) return false;
  const [first, second] = answer[at]?.logprobs?.top ?? [];
  const gap = (first?.logprob ?? 0) - (second?.logprob ?? -1);
  if (gap < MARGIN_NATS) return true;
  throw new Error(`token ${at} differs, and the two best were ${gap} nats apart`);
}
