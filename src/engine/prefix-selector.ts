import { nanLogit, requireFinite } from './broken-logits.ts';
import { expOfNegative, ROUGH_ERROR, ROUGH_STEPS, roughExp } from './exp.ts';
import { createCandidates, createPrefixCut } from './prefix-cut.ts';

/** Top-k, top-p and min-p without a sort, for top-k off or large. */
export interface PrefixSelector {
  /**
   * Filters and draws.
   * @param scores [vocab]; -Infinity is never drawn
   * @param uniform the draw, [0, 1)
   * @returns the chosen id
   * @throws ServeError internal when a score is NaN or the largest is not finite
   */
  sample(scores: Float32Array, filters: PrefixFilters, uniform: number): number;
}

export interface PrefixFilters {
  readonly temperature: number;
  /** 0 is off. */
  readonly topK: number;
  /** 1 is off. */
  readonly topP: number;
  /** 0 is off. */
  readonly minP: number;
}

/** How weights are computed: quickly, with a margin where sums decide, or as exactly as can be. */
interface Softmax {
  readonly most: number;
  readonly temperature: number;
  /** {@link roughExp} steps in one unit of score. */
  readonly steps: number;
  readonly isExact: boolean;
}

/** Ids looked at together: none of them where even the best is out of reach. */
const BLOCK = 256;
/** Below this temperature steps could overflow. */
const ROUGH_FROM = 1e-6;
/** Of a sum: what two sums of rough weights can differ by, and a good deal for rounding. */
const MARGIN = 3 * ROUGH_ERROR;
/** Too close to call with rough weights. */
const UNSURE = -1;

/**
 * Creates a selector whose choices are those of exact weights, summed by ascending id. It first
 * decides with rough ones: where all sums that matter are further from their targets than these can
 * be wrong, the choice is the same. In the rare other cases it decides again with exact ones.
 */
export function createPrefixSelector(vocabSize: number): PrefixSelector {
  const blockCount = Math.ceil(vocabSize / BLOCK);
  /** [blockCount] the largest score of each */
  const blockMost = new Float32Array(blockCount);
  /** [blockCount] sum of the weights up to the end of each */
  const massAfter = new Float64Array(blockCount);
  const kept = createCandidates(vocabSize);
  const cuts = createPrefixCut(vocabSize);

  function scanBlocks(scores: Float32Array): number {
    let most = Number.NEGATIVE_INFINITY;
    for (let block = 0; block < blockCount; block++) {
      const end = Math.min((block + 1) * BLOCK, vocabSize);
      let best = Number.NEGATIVE_INFINITY;
      for (let id = block * BLOCK; id < end; id++) {
        const score = scores[id] ?? 0;
        // One test for both rare cases: larger, or NaN.
        if (!(score <= best)) {
          if (score !== score) throw nanLogit(id);
          best = score;
        }
      }
      blockMost[block] = best;
      if (best > most) most = best;
    }
    return requireFinite(most);
  }

  /** Sum of all weights; leaves `massAfter`. */
  function sumAll(scores: Float32Array, softmax: Softmax): number {
    const { most, temperature, steps, isExact } = softmax;
    let mass = 0;
    for (let block = 0; block < blockCount; block++) {
      const end = Math.min((block + 1) * BLOCK, vocabSize);
      if (isExact) {
        for (let id = block * BLOCK; id < end; id++) {
          mass += expOfNegative(((scores[id] ?? 0) - most) / temperature);
        }
      } else {
        for (let id = block * BLOCK; id < end; id++) {
          mass += roughExp((most - (scores[id] ?? 0)) * steps);
        }
      }
      massAfter[block] = mass;
    }
    return mass;
  }

  /** Makes candidates of the ids with a score from `least` on, -Infinity excepted; each weighs 1. */
  function gather(all: Float32Array, least: number): void {
    const { ids, scores } = kept;
    let count = 0;
    for (let block = 0; block < blockCount; block++) {
      if ((blockMost[block] ?? 0) < least) continue;
      const end = Math.min((block + 1) * BLOCK, vocabSize);
      for (let id = block * BLOCK; id < end; id++) {
        const score = all[id] ?? 0;
        if (!(score >= least) || score === Number.NEGATIVE_INFINITY) continue;
        ids[count] = id;
        scores[count++] = score;
      }
    }
    kept.count = count;
    kept.weights.fill(1, 0, count);
  }

  function weigh(softmax: Softmax): number {
    const { scores, weights, count } = kept;
    const { most, temperature, steps, isExact } = softmax;
    if (isExact) {
      for (let at = 0; at < count; at++) {
        weights[at] = expOfNegative(((scores[at] ?? 0) - most) / temperature);
      }
    } else {
      for (let at = 0; at < count; at++) weights[at] = roughExp((most - (scores[at] ?? 0)) * steps);
    }
    let total = 0;
    for (let at = 0; at < count; at++) total += weights[at] ?? 0;
    return total;
  }

  /** Leaves the candidates up to the one at `cut` in the order "score descending, id ascending". */
  function keepUpTo(cut: number): void {
    const { ids, scores, weights } = kept;
    const cutScore = scores[cut] ?? 0;
    let count = 0;
    for (let at = 0; at < kept.count; at++) {
      const score = scores[at] ?? 0;
      if (score < cutScore || (score === cutScore && at > cut)) continue;
      ids[count] = ids[at] ?? 0;
      scores[count] = score;
      weights[count++] = weights[at] ?? 0;
    }
    kept.count = count;
  }

  /** Leaves weights from `minP` times the largest on, which is 1; false when one is too close to call. */
  function keepHeavy(minP: number, margin: number): boolean {
    const { ids, weights } = kept;
    let count = 0;
    for (let at = 0; at < kept.count; at++) {
      const weight = weights[at] ?? 0;
      if (margin > 0 && Math.abs(weight - minP) <= margin * minP) return false;
      if (weight < minP) continue;
      ids[count] = ids[at] ?? 0;
      weights[count++] = weight;
    }
    kept.count = count;
    return true;
  }

  /** Top-k and top-p: leaves `kept`, weighed; false when it is too close to call. */
  function filter(scores: Float32Array, filters: PrefixFilters, softmax: Softmax): boolean {
    const { topK, topP, minP } = filters;
    const margin = softmax.isExact ? 0 : MARGIN;
    let total = 0;
    if (topK > 0) {
      gather(scores, Number.NEGATIVE_INFINITY);
      if (topK < kept.count) keepUpTo(cuts.find(kept, topK, 0));
      total = weigh(softmax);
    } else if (topP < 1) {
      total = sumAll(scores, softmax);
      // Tokens no heavier than an equal share of the tail all fit into the tail together, so the
      // prefix ends before them; this leaves few candidates.
      gather(scores, scoreOf(((1 - topP) * total) / vocabSize, softmax));
      weigh(softmax);
    } else {
      gather(scores, scoreOf(minP, softmax));
      weigh(softmax);
    }
    if (topP < 1) {
      const cut = cuts.find(kept, topP * total, margin * total);
      if (cut === UNSURE) return false;
      keepUpTo(cut);
    }
    return minP === 0 || keepHeavy(minP, margin);
  }

  function drawKept(uniform: number, margin: number): number {
    const { ids, weights, count } = kept;
    if (count === 1) return ids[0] ?? 0;
    let total = 0;
    for (let at = 0; at < count; at++) total += weights[at] ?? 0;
    const target = uniform * total;
    const slack = margin * total;
    let mass = 0;
    let last = 0;
    for (let at = 0; at < count; at++) {
      const before = mass;
      const weight = weights[at] ?? 0;
      mass += weight;
      if (weight > 0) last = ids[at] ?? 0;
      if (mass > target) return isBetween(before, target, mass, slack) ? last : UNSURE;
    }
    return margin > 0 ? UNSURE : last;
  }

  /** Draws among all ids, from what {@link sumAll} left. */
  function drawAny(scores: Float32Array, softmax: Softmax, total: number, uniform: number): number {
    const target = uniform * total;
    const slack = softmax.isExact ? 0 : MARGIN * total;
    let block = 0;
    while (block < blockCount - 1 && !((massAfter[block] ?? 0) > target)) block++;
    let mass = block === 0 ? 0 : (massAfter[block - 1] ?? 0);
    const end = Math.min((block + 1) * BLOCK, vocabSize);
    for (let id = block * BLOCK; id < end; id++) {
      const before = mass;
      mass += weightOf(scores[id] ?? 0, softmax);
      if (mass > target) return isBetween(before, target, mass, slack) ? id : UNSURE;
    }
    if (!softmax.isExact) return UNSURE;
    // Rounded up to the total: the last that can be drawn.
    let last = vocabSize - 1;
    while (last > 0 && weightOf(scores[last] ?? 0, softmax) === 0) last--;
    return last;
  }

  function choose(
    scores: Float32Array,
    filters: PrefixFilters,
    softmax: Softmax,
    uniform: number,
  ): number {
    const hasFilter = filters.topK > 0 || filters.topP < 1 || filters.minP > 0;
    if (!hasFilter) return drawAny(scores, softmax, sumAll(scores, softmax), uniform);
    if (!filter(scores, filters, softmax)) return UNSURE;
    return drawKept(uniform, softmax.isExact ? 0 : MARGIN);
  }

  return {
    sample(scores, filters, uniform) {
      const most = scanBlocks(scores);
      const { temperature } = filters;
      if (temperature >= ROUGH_FROM) {
        const id = choose(scores, filters, createSoftmax(most, temperature, false), uniform);
        if (id !== UNSURE) return id;
      }
      return choose(scores, filters, createSoftmax(most, temperature, true), uniform);
    },
  };
}

/** Made in one place: V8 gives up on hot loops over objects that are made in several ways. */
function createSoftmax(most: number, temperature: number, isExact: boolean): Softmax {
  return { most, temperature, steps: ROUGH_STEPS / temperature, isExact };
}

function weightOf(score: number, { most, temperature, steps, isExact }: Softmax): number {
  return isExact ? expOfNegative((score - most) / temperature) : roughExp((most - score) * steps);
}

/** A score whose weight is surely not above `weight`, though nearly that. */
function scoreOf(weight: number, { most, temperature }: Softmax): number {
  return most + temperature * (Math.log(weight) - 1e-6);
}

function isBetween(before: number, target: number, after: number, slack: number): boolean {
  return slack === 0 || (before <= target - slack && after > target + slack);
}
