import { ServeError } from '../errors.ts';
import type { SamplingParams } from './engine.ts';
import { nanLogit, requireFinite } from './broken-logits.ts';
import { expOfNegative } from './exp.ts';
import { createPrefixSelector } from './prefix-selector.ts';
import { uniformAt } from './random.ts';
import { createTopSelector } from './top-selector.ts';

/** Tokens the penalties look at. */
export interface TokenHistory {
  /** Distinct ids of the prompt, ascending. */
  readonly prompt: Int32Array;
  /** Occurrences by id among the generated tokens. */
  readonly output: ReadonlyMap<number, number>;
  /** Ids that end the output; not chosen for the first `minTokens` tokens. */
  readonly ends: ReadonlySet<number>;
}

export interface SamplerOptions {
  /** Width of the logits. */
  readonly vocabSize: number;
  /** Ids never chosen. */
  readonly suppressed: readonly number[];
}

export interface Sampler {
  /**
   * Chooses the next token: penalties, logit bias, suppression, allowed ids, temperature, top-k, top-p, min-p,
   * then one draw. Each filter keeps a prefix of the order "score descending, id ascending"; the
   * draw walks what is left by ascending id.
   * @param logits [vocabSize], left as they are
   * @param index 0 for the first generated token; with the seed it fixes the draw
   * @throws ServeError internal when a logit is NaN or nothing is left to choose; invalid_request when
   *   that is because of the allowed ids
   */
  sample(
    logits: Float32Array,
    params: SamplingParams,
    history: TokenHistory,
    index: number,
  ): number;
}

/** Up to this top-k a heap beats looking for the cut in a histogram. */
const HEAP_LIMIT = 1024;
/** A logit bias at or below this bans the token outright. */
const BAN_BIAS = -100;

/** Creates a sampler; its buffers are reused, so one call at a time. */
export function createSampler(options: SamplerOptions): Sampler {
  const { vocabSize } = options;
  const suppressed = Int32Array.from(options.suppressed.filter((id) => id < vocabSize));
  const scores = new Float32Array(vocabSize);
  const selector = createTopSelector(Math.min(HEAP_LIMIT, vocabSize));
  const prefixes = createPrefixSelector(vocabSize);
  const topWeights = new Float64Array(selector.ids.length);

  /** Top-k small: everything happens on the k best. */
  function sampleTop(params: SamplingParams, uniform: number): number {
    const { ids } = selector;
    let kept = selector.select(scores, Math.min(params.topK, vocabSize));
    const most = requireFinite(kept === 0 ? Number.NEGATIVE_INFINITY : (scores[ids[0] ?? 0] ?? 0));
    let total = 0;
    for (let rank = 0; rank < kept; rank++) {
      const weight = expOfNegative(((scores[ids[rank] ?? 0] ?? 0) - most) / params.temperature);
      topWeights[rank] = weight;
      total += weight;
    }
    if (params.topP < 1) {
      let mass = 0;
      let rank = 0;
      while (rank < kept && mass < params.topP * total) mass += topWeights[rank++] ?? 0;
      kept = Math.max(1, rank);
    }
    while (kept > 1 && (topWeights[kept - 1] ?? 0) < params.minP) kept--;
    sortByIds(ids, topWeights, kept);
    total = 0;
    for (let at = 0; at < kept; at++) total += topWeights[at] ?? 0;
    let mass = 0;
    for (let at = 0; at < kept; at++) {
      mass += topWeights[at] ?? 0;
      if (mass > uniform * total) return ids[at] ?? 0;
    }
    return ids[kept - 1] ?? 0;
  }

  function keepAllowed(ids: readonly number[]): void {
    const kept = Float32Array.from(ids, (id) => scores[id] ?? Number.NEGATIVE_INFINITY);
    if (kept.every((score) => score === Number.NEGATIVE_INFINITY)) {
      throw new ServeError(
        'invalid_request',
        'None of allowed_token_ids can be chosen: all are special, banned by logit_bias, or end the answer before min_tokens.',
        { param: 'allowed_token_ids' },
      );
    }
    scores.fill(Number.NEGATIVE_INFINITY);
    for (const [at, id] of ids.entries()) scores[id] = kept[at] ?? Number.NEGATIVE_INFINITY;
  }

  return {
    sample(logits, params, history, index) {
      scores.set(logits);
      applyPenalties(scores, params, history);
      applyBias(scores, params.logitBias);
      for (let at = 0; at < suppressed.length; at++) {
        scores[suppressed[at] ?? 0] = Number.NEGATIVE_INFINITY;
      }
      if (index < params.minTokens) {
        for (const id of history.ends) scores[id] = Number.NEGATIVE_INFINITY;
      }
      if (params.allowedIds !== null) keepAllowed(params.allowedIds);
      if (params.temperature === 0 || params.topK === 1) return argmax(scores);
      const uniform = uniformAt(params.seed, index);
      if (params.topK > 0 && params.topK <= HEAP_LIMIT) return sampleTop(params, uniform);
      return prefixes.sample(scores, params, uniform);
    },
  };
}

/**
 * Id of the largest score, the lowest of equals.
 * @throws ServeError internal when a score is NaN or the largest is not finite
 */
function argmax(scores: Float32Array): number {
  let best = -1;
  let most = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < scores.length; id++) {
    const score = scores[id] ?? 0;
    // One test for both rare cases: larger, or NaN.
    if (!(score <= most)) {
      if (score !== score) throw nanLogit(id);
      most = score;
      best = id;
    }
  }
  requireFinite(most);
  return best;
}

/** Hugging Face's repetition penalty, then OpenAI's frequency and presence penalties. */
function applyPenalties(scores: Float32Array, params: SamplingParams, history: TokenHistory): void {
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = params;
  if (repetitionPenalty !== 1) {
    const { prompt } = history;
    for (let at = 0; at < prompt.length; at++) repel(scores, prompt[at] ?? 0, repetitionPenalty);
    for (const id of history.output.keys()) {
      if (!includesSorted(prompt, id)) repel(scores, id, repetitionPenalty);
    }
  }
  if (presencePenalty !== 0 || frequencyPenalty !== 0) {
    for (const [id, count] of history.output) {
      scores[id] = (scores[id] ?? 0) - presencePenalty - frequencyPenalty * count;
    }
  }
}

/** Whether `id` is among `ids`, which ascend. */
function includesSorted(ids: Int32Array, id: number): boolean {
  let from = 0;
  let to = ids.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((ids[middle] ?? 0) < id) from = middle + 1;
    else to = middle;
  }
  return ids[from] === id;
}

function repel(scores: Float32Array, id: number, penalty: number): void {
  const score = scores[id] ?? 0;
  scores[id] = score < 0 ? score * penalty : score / penalty;
}

function applyBias(scores: Float32Array, logitBias: ReadonlyMap<number, number>): void {
  for (const [id, bias] of logitBias) {
    // Writes beyond the vocabulary fall off a typed array, which is what we want.
    scores[id] = bias <= BAN_BIAS ? Number.NEGATIVE_INFINITY : (scores[id] ?? 0) + bias;
  }
}

/** Insertion sort of two parallel arrays by ascending id: small, in place, allocates nothing. */
function sortByIds(ids: Int32Array, weights: Float64Array, count: number): void {
  for (let at = 1; at < count; at++) {
    const id = ids[at] ?? 0;
    const weight = weights[at] ?? 0;
    let to = at;
    while (to > 0 && (ids[to - 1] ?? 0) > id) {
      ids[to] = ids[to - 1] ?? 0;
      weights[to] = weights[to - 1] ?? 0;
      to--;
    }
    ids[to] = id;
    weights[to] = weight;
  }
}
