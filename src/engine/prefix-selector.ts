import { expOfNegative } from './exp.ts';

/** Top-k, top-p and min-p without a full sort, for top-k off or large. */
export interface PrefixSelector {
  /**
   * Filters and draws.
   * @param scores [vocab]; -Infinity is never drawn
   * @param most the largest score, finite
   * @param uniform the draw, [0, 1)
   * @returns the chosen id
   */
  sample(scores: Float32Array, filters: PrefixFilters, most: number, uniform: number): number;
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

/** Below this many candidates sorting beats partitioning. */
const SORT_BELOW = 24;

export function createPrefixSelector(vocabSize: number): PrefixSelector {
  const order = new Int32Array(vocabSize);
  const weights = new Float64Array(vocabSize);

  return {
    sample(scores, filters, most, uniform) {
      let total = 0;
      let available = 0;
      for (let id = 0; id < vocabSize; id++) {
        const score = scores[id] ?? 0;
        if (score === Number.NEGATIVE_INFINITY) {
          weights[id] = 0;
          continue;
        }
        const weight = expOfNegative((score - most) / filters.temperature);
        weights[id] = weight;
        total += weight;
        available++;
      }

      let cut = -1;
      if (filters.topK > 0 && filters.topK < available) {
        let count = 0;
        for (let id = 0; id < vocabSize; id++) {
          if ((scores[id] ?? 0) > Number.NEGATIVE_INFINITY) order[count++] = id;
        }
        const kept = selectPrefix(order, count, scores, null, filters.topK);
        cut = worstOf(order, kept, scores);
        if (filters.topP < 1) {
          total = 0;
          for (let at = 0; at < kept; at++) total += weights[order[at] ?? 0] ?? 0;
          const nucleus = selectPrefix(order, kept, scores, weights, filters.topP * total);
          cut = worstOf(order, nucleus, scores);
        }
      } else if (filters.topP < 1) {
        // Tokens no heavier than an equal share of the tail all fit into the tail together, so the
        // prefix ends before them; this leaves few candidates. The factor absorbs rounding.
        const floor = (((1 - filters.topP) * total) / available) * (1 - 1e-9);
        let count = 0;
        for (let id = 0; id < vocabSize; id++) if ((weights[id] ?? 0) > floor) order[count++] = id;
        const nucleus = selectPrefix(order, count, scores, weights, filters.topP * total);
        cut = worstOf(order, nucleus, scores);
      }
      return draw(scores, weights, cut, filters.minP, uniform);
    },
  };
}

/**
 * Draws among the ids not behind `cut` (-1: all) whose weight is at least `minP` times the
 * largest, which is 1.
 */
function draw(
  scores: Float32Array,
  weights: Float64Array,
  cut: number,
  minP: number,
  uniform: number,
): number {
  const cutScore = cut < 0 ? Number.NEGATIVE_INFINITY : (scores[cut] ?? 0);
  let total = 0;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    const weight = weights[id] ?? 0;
    const score = scores[id] ?? 0;
    if (weight < minP || score < cutScore || (score === cutScore && id > cut && cut >= 0)) {
      // The second pass then needs no filter.
      weights[id] = 0;
    } else if (weight > 0) {
      total += weight;
      last = id;
    }
  }
  const target = uniform * total;
  let mass = 0;
  for (let id = 0; id < last; id++) {
    mass += weights[id] ?? 0;
    if (mass > target) return id;
  }
  return last;
}

/**
 * Rearranges `order[0, count)` and finds the shortest prefix, in "score descending, id ascending",
 * whose measure reaches `target`. Quickselect: expected linear time.
 * @param measure weight by id; null counts each as 1
 * @returns the prefix's length, 1..count; `order` holds its ids first, in no particular order
 */
function selectPrefix(
  order: Int32Array,
  count: number,
  scores: Float32Array,
  measure: Float64Array | null,
  target: number,
): number {
  let from = 0;
  let to = count;
  let mass = 0;
  while (to - from > SORT_BELOW) {
    const pivotAt = partition(order, from, to, scores);
    const pivotMass = measure === null ? 1 : (measure[order[pivotAt] ?? 0] ?? 0);
    let before = pivotAt - from;
    if (measure !== null) {
      before = 0;
      for (let at = from; at < pivotAt; at++) before += measure[order[at] ?? 0] ?? 0;
    }
    if (mass + before >= target) {
      to = pivotAt;
    } else if (mass + before + pivotMass >= target) {
      return pivotAt + 1;
    } else {
      mass += before + pivotMass;
      from = pivotAt + 1;
    }
  }
  insertionSort(order, from, to, scores);
  let at = from;
  while (at < to && mass < target) {
    mass += measure === null ? 1 : (measure[order[at] ?? 0] ?? 0);
    at++;
  }
  return Math.max(1, at);
}

/** Whether token `a` comes before token `b`. */
function comesBefore(a: number, b: number, scores: Float32Array): boolean {
  const first = scores[a] ?? 0;
  const second = scores[b] ?? 0;
  return first > second || (first === second && a < b);
}

/** Partitions [from, to) around the median of three; returns the pivot's final place. */
function partition(order: Int32Array, from: number, to: number, scores: Float32Array): number {
  const last = to - 1;
  const middle = (from + last) >> 1;
  if (comesBefore(order[middle] ?? 0, order[from] ?? 0, scores)) swap(order, middle, from);
  if (comesBefore(order[last] ?? 0, order[from] ?? 0, scores)) swap(order, last, from);
  if (comesBefore(order[middle] ?? 0, order[last] ?? 0, scores)) swap(order, middle, last);
  const pivot = order[last] ?? 0;
  let end = from;
  for (let at = from; at < last; at++) {
    if (comesBefore(order[at] ?? 0, pivot, scores)) swap(order, at, end++);
  }
  swap(order, end, last);
  return end;
}

function insertionSort(order: Int32Array, from: number, to: number, scores: Float32Array): void {
  for (let at = from + 1; at < to; at++) {
    const id = order[at] ?? 0;
    let place = at;
    while (place > from && comesBefore(id, order[place - 1] ?? 0, scores)) {
      order[place] = order[place - 1] ?? 0;
      place--;
    }
    order[place] = id;
  }
}

function worstOf(order: Int32Array, count: number, scores: Float32Array): number {
  let worst = order[0] ?? 0;
  for (let at = 1; at < count; at++) {
    const id = order[at] ?? 0;
    if (comesBefore(worst, id, scores)) worst = id;
  }
  return worst;
}

function swap(order: Int32Array, a: number, b: number): void {
  const kept = order[a] ?? 0;
  order[a] = order[b] ?? 0;
  order[b] = kept;
}
