import type { PreparedPrompt, SamplingParams } from '../../src/engine/engine.ts';
import { GREEDY, testImage } from './engine-harness.ts';
import type { SeededRandom } from './seeded-random.ts';

const FEW_IDS = new Map([10, 11].map((id) => [id, 100]));

function randomTokens(random: SeededRandom, most: number): number[] {
  // Few different ones, so that contents share beginnings by chance too.
  return Array.from({ length: random.integer(0, most) }, () => random.integer(9, 12));
}

/** More of a conversation behind what there is: text, and perhaps images of which few differ. */
export function extend(
  random: SeededRandom,
  prompt: PreparedPrompt,
  ids: number[],
): PreparedPrompt {
  const tokens = [...prompt.tokens, ...ids, ...randomTokens(random, 12), 20];
  const images = [...prompt.images];
  if (random.chance(0.3)) {
    images.push({ position: tokens.length, image: testImage(random.integer(0, 2)) });
    tokens.push(8, 8, 8, 8, ...randomTokens(random, 5));
  }
  return { ...prompt, tokens: Int32Array.from(tokens), images };
}

/** The beginning of a conversation, cut anywhere but inside an image: an edit or a fork. */
export function cutBack(random: SeededRandom, prompt: PreparedPrompt): PreparedPrompt {
  let length = random.integer(1, prompt.tokens.length);
  for (const { position } of prompt.images) {
    if (position < length && length < position + 4) length = position;
  }
  const images = prompt.images.filter(({ position }) => position < length);
  return { ...prompt, tokens: prompt.tokens.slice(0, Math.max(1, length)), images };
}

/** Greedy or sampled, often of few ids, so that drafts hold. */
export function randomParams(random: SeededRandom): SamplingParams {
  return {
    ...GREEDY,
    maxTokens: random.integer(0, 24),
    temperature: random.pick([0, 0, 1]),
    // Answers of few different tokens repeat themselves, so that drafts hold.
    logitBias: random.chance(0.3) ? FEW_IDS : new Map(),
    seed: random.integer(0, 1000),
  };
}

/** What a client sees of an answer, but for times and what was reused. */
export function visible(events: readonly object[]): string {
  const hidden = new Set(['timings', 'cachedTokens', 'store']);
  return JSON.stringify(events, (key, value: unknown) => (hidden.has(key) ? undefined : value));
}
