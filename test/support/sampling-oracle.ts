import type { SamplingParams } from '../../src/engine/engine.ts';
import { uniformAt } from '../../src/engine/random.ts';
import type { TokenHistory } from '../../src/engine/sampler.ts';

interface Candidate {
  readonly id: number;
  readonly score: number;
  readonly weight: number;
}

/** The ids a token is drawn from, by full sorts: what the fast sampler must agree with. */
export function keptByOracle(
  logits: Float32Array,
  params: SamplingParams,
  history: TokenHistory,
  suppressed: readonly number[],
  index = 0,
): Candidate[] {
  const scores = Float32Array.from(logits);
  const seen = new Set([...history.prompt, ...history.output.keys()]);
  for (const id of seen) {
    const score = scores[id] ?? 0;
    const { repetitionPenalty } = params;
    scores[id] = score < 0 ? score * repetitionPenalty : score / repetitionPenalty;
  }
  for (const [id, count] of history.output) {
    scores[id] = (scores[id] ?? 0) - params.presencePenalty - params.frequencyPenalty * count;
  }
  for (const [id, bias] of params.logitBias) {
    scores[id] = bias <= -100 ? Number.NEGATIVE_INFINITY : (scores[id] ?? 0) + bias;
  }
  const { allowedIds, minTokens } = params;
  for (const id of scores.keys()) {
    const isBanned =
      suppressed.includes(id) ||
      (index < minTokens && history.ends.has(id)) ||
      (allowedIds !== null && !allowedIds.includes(id));
    if (isBanned) scores[id] = Number.NEGATIVE_INFINITY;
  }

  const most = scores.reduce((a, b) => Math.max(a, b));
  let kept = Array.from(scores, (score, id) => ({
    id,
    score,
    weight: Math.exp((score - most) / (params.temperature || 1)),
  }))
    .filter(({ score }) => score > Number.NEGATIVE_INFINITY)
    .toSorted((a, b) => b.score - a.score || a.id - b.id);
  if (params.temperature === 0) return kept.slice(0, 1);
  if (params.topK > 0) kept = kept.slice(0, params.topK);
  if (params.topP < 1) {
    const total = kept.reduce((sum, { weight }) => sum + weight, 0);
    let mass = 0;
    const end = kept.findIndex(({ weight }) => (mass += weight) >= params.topP * total);
    kept = kept.slice(0, end < 0 ? kept.length : end + 1);
  }
  return kept.filter(({ weight }, rank) => rank === 0 || weight >= params.minP);
}

/** Draws from what is kept by walking it in ascending order of the ids. */
export function sampleByOracle(
  logits: Float32Array,
  params: SamplingParams,
  history: TokenHistory,
  suppressed: readonly number[],
  index: number,
): number {
  const kept = keptByOracle(logits, params, history, suppressed, index).toSorted(
    (a, b) => a.id - b.id,
  );
  const total = kept.reduce((sum, { weight }) => sum + weight, 0);
  const target = uniformAt(params.seed, index) * total;
  let mass = 0;
  for (const { id, weight } of kept) {
    mass += weight;
    if (mass > target) return id;
  }
  return kept.at(-1)?.id ?? -1;
}
