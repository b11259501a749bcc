import { brokenLogits, nanLogit } from './broken-logits.ts';
import type { TokenLogprob, TokenLogprobs } from './engine.ts';
import { expOfNegative } from './exp.ts';
import { createTopSelector } from './top-selector.ts';

export interface LogprobReader {
  /**
   * Log probabilities under the softmax of all raw logits.
   * @param logits [vocab]
   * @param topCount alternatives to report, 0..maxTop
   * @throws ServeError internal when a logit is NaN or none is finite
   */
  read(logits: Float32Array, id: number, topCount: number): TokenLogprobs;
}

/** Creates a reader that reports at most `maxTop` alternatives, reusing its buffers. */
export function createLogprobReader(maxTop: number): LogprobReader {
  const selector = createTopSelector(Math.max(1, maxTop));
  return {
    read(logits, id, topCount) {
      const normalizer = logSumExp(logits);
      // One expression for every entry: clients compare a token's value with its entry in `top`.
      const entry = (at: number): TokenLogprob => ({
        id: at,
        logprob: (logits[at] ?? Number.NaN) - normalizer,
      });
      const top: TokenLogprob[] = [];
      const count = topCount === 0 ? 0 : selector.select(logits, topCount);
      for (let rank = 0; rank < count; rank++) top.push(entry(selector.ids[rank] ?? 0));
      return { logprob: entry(id).logprob, top };
    },
  };
}

/**
 * log(sum(exp(x))), summed in float64 in the order of the ids.
 * @throws ServeError internal when a value is NaN or +Infinity, or none is finite
 */
function logSumExp(logits: Float32Array): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const value = logits[id] ?? Number.NaN;
    if (!(value <= most)) {
      if (value !== value) throw nanLogit(id);
      most = value;
    }
  }
  if (!Number.isFinite(most)) throw brokenLogits(`the largest logit is ${most}`);
  let sum = 0;
  for (let id = 0; id < logits.length; id++) {
    sum += expOfNegative((logits[id] ?? 0) - most);
  }
  return most + Math.log(sum);
}
