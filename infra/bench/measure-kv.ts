import type { Engine } from '../../src/engine/engine.ts';
import { promptWithImages } from './bench-images.ts';
import type { PromptWithImages } from './bench-images.ts';
import { benchPrompt, greedy } from './gemlet-streams.ts';
import type { OpenedEngine } from './gemlet-streams.ts';
import type { ForkResult, HistoryResult, ImageResult, KvSettings, Turn } from './kv-report.ts';
import { randomTokens } from './measure.ts';

const OTHER_TOKENS = 64;

/** Three turns in one row, which another request takes before the third. */
export async function measureHistory(
  { engine, backend }: Pick<OpenedEngine, 'engine' | 'backend'>,
  { answerTokens, newTokens }: KvSettings,
  history: number,
): Promise<HistoryResult> {
  const { vocabSize, windowTokens } = backend.config.text;
  const more = (seed: string, count: number): Int32Array => randomTokens(seed, count, vocabSize);
  const turn = (tokens: Int32Array, scope: string): Promise<Turn> =>
    ask(engine, { tokens, images: [] }, scope, answerTokens);
  const scope = `history ${history}`;
  // Kernels run once before anything is timed.
  await turn(more('warm-up', OTHER_TOKENS), 'warm-up');
  const prompt = more(scope, history);
  const bytesBefore = engine.stats().pages.bytes;
  const first = await turn(prompt, scope);
  const secondPrompt = joined(prompt, first.ids, more(`second ${history}`, newTokens));
  const warm = await turn(secondPrompt, scope);
  const pageBytes = engine.stats().pages.bytes - bytesBefore;
  await turn(more(`other ${history}`, OTHER_TOKENS), 'other');
  const thirdPrompt = joined(secondPrompt, warm.ids, more(`third ${history}`, newTokens));
  const restored = await turn(thirdPrompt, scope);
  // In a scope of its own it finds nothing.
  const recomputed = await turn(thirdPrompt, `${scope} again`);
  const { global, local } = backend.kvTokenBytes;
  const movedBytes =
    restored.cachedTokens * global + Math.min(restored.cachedTokens, windowTokens - 1) * local;
  return { history, first, warm, restored, recomputed, movedBytes, pageBytes };
}

/** Requests of one moment that share a prompt, beside one alone. */
export async function measureForks(
  engine: Engine,
  { history, forks, answerTokens }: KvSettings,
): Promise<ForkResult> {
  const { vocabSize } = engine.model.config.text;
  const sharedTokens = history[0] ?? 0;
  const promptOf = (scope: string): PromptWithImages => ({
    tokens: randomTokens(`fork ${scope}`, sharedTokens, vocabSize),
    images: [],
  });
  const warmUp = { tokens: randomTokens('warm-up', OTHER_TOKENS, vocabSize), images: [] };
  await ask(engine, warmUp, 'warm-up', answerTokens);
  const alone = await ask(engine, promptOf('alone'), 'alone', answerTokens);
  const together = await Promise.all(
    Array.from({ length: forks }, () =>
      ask(engine, promptOf('together'), 'together', answerTokens),
    ),
  );
  return {
    sharedTokens,
    aloneMs: alone.ttftMs,
    ttftMs: together.map(({ ttftMs }) => ttftMs),
    cachedTokens: together.map(({ cachedTokens }) => cachedTokens),
  };
}

/** Two turns about the same images. */
export async function measureImages(
  engine: Engine,
  { images, newTokens, answerTokens }: KvSettings,
): Promise<ImageResult> {
  const { text, vision } = engine.model.config;
  if (vision === null) throw new RangeError('this model has no vision tower');
  const shape = { ...vision, vocabSize: text.vocabSize };
  const scope = 'images';
  // The first image of a process also loads the tower.
  const warmUp = promptWithImages('warm-up', 1, newTokens, shape);
  await ask(engine, warmUp, 'warm-up', answerTokens);
  const prompt = promptWithImages(scope, images, newTokens, shape);
  const first = await ask(engine, prompt, scope, answerTokens);
  const encodedBefore = engine.stats().totals.imagesEncoded;
  const added = randomTokens('second', newTokens, text.vocabSize);
  const tokens = joined(prompt.tokens, first.ids, added);
  const warm = await ask(engine, { tokens, images: prompt.images }, scope, answerTokens);
  return {
    promptTokens: prompt.tokens.length,
    first,
    warm,
    encodedAgain: engine.stats().totals.imagesEncoded - encodedBefore,
  };
}

async function ask(
  engine: Engine,
  { tokens, images }: PromptWithImages,
  scope: string,
  answerTokens: number,
): Promise<Turn> {
  const movesBeforeMs = engine.stats().totals.phaseMs.rowMoves;
  const startedMs = performance.now();
  let ttftMs = 0;
  let movesMs = 0;
  let cachedTokens = 0;
  const ids: number[] = [];
  const prompt = benchPrompt(tokens, scope, images);
  for await (const event of engine.generate(prompt, greedy(answerTokens))) {
    if (event.type === 'prefill-end') cachedTokens = event.cachedTokens;
    if (event.type !== 'token') continue;
    if (ids.length === 0) {
      ttftMs = performance.now() - startedMs;
      movesMs = engine.stats().totals.phaseMs.rowMoves - movesBeforeMs;
    }
    ids.push(event.id);
  }
  return { ttftMs, movesMs, cachedTokens, ids };
}

function joined(...parts: readonly ArrayLike<number>[]): Int32Array {
  return Int32Array.from(parts.flatMap((part) => Array.from(part)));
}
