import { nanLogit } from './broken-logits.ts';

export interface TopSelector {
  /** Result of the last `select`: ids, most likely first, ties by lower id. */
  readonly ids: Int32Array;
  /**
   * Selects the `count` largest values in one pass without allocating. -Infinity counts as absent.
   * @param values [vocab]
   * @param count 1..capacity
   * @returns entries found: `count`, or fewer when fewer values are above -Infinity
   * @throws ServeError internal when a value is NaN
   */
  select(values: Float32Array, count: number): number;
}

/**
 * Creates a selector for at most `capacity` values. A heap of the best so far, its worst on top:
 * nearly every value loses against that one at the cost of a single comparison.
 */
export function createTopSelector(capacity: number): TopSelector {
  const ids = new Int32Array(capacity);
  const scores = new Float32Array(capacity);

  /** Whether entry (score, id) ranks below the one at `other`. */
  function isWorse(score: number, id: number, other: number): boolean {
    const otherScore = scores[other] ?? 0;
    return score < otherScore || (score === otherScore && id > (ids[other] ?? 0));
  }

  /** Puts (score, id) at the top of a heap of `size` and lets it sink. */
  function sink(score: number, id: number, size: number): void {
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && isWorse(scores[right] ?? 0, ids[right] ?? 0, child)) child = right;
      if (isWorse(score, id, child)) break;
      scores[at] = scores[child] ?? 0;
      ids[at] = ids[child] ?? 0;
      at = child;
    }
    scores[at] = score;
    ids[at] = id;
  }

  /** Adds (score, id) to a heap of `size`. */
  function rise(score: number, id: number, size: number): void {
    let at = size;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isWorse(score, id, parent)) break;
      scores[at] = scores[parent] ?? 0;
      ids[at] = ids[parent] ?? 0;
      at = parent;
    }
    scores[at] = score;
    ids[at] = id;
  }

  return {
    ids,
    select(values, count) {
      let size = 0;
      let id = 0;
      for (; id < values.length && size < count; id++) {
        const score = values[id] ?? 0;
        if (score > Number.NEGATIVE_INFINITY) rise(score, id, size++);
        else if (score !== score) throw nanLogit(id);
      }
      let worst = scores[0] ?? 0;
      for (; id < values.length; id++) {
        const score = values[id] ?? 0;
        // Later ids lose ties, so equality is no reason to swap; NaN is no reason to go on.
        if (!(score <= worst)) {
          if (score !== score) throw nanLogit(id);
          sink(score, id, size);
          worst = scores[0] ?? 0;
        }
      }
      // Heap sort: move the worst behind the shrinking heap.
      for (let end = size - 1; end > 0; end--) {
        const lastScore = scores[end] ?? 0;
        const lastId = ids[end] ?? 0;
        const worstScore = scores[0] ?? 0;
        const worstId = ids[0] ?? 0;
        sink(lastScore, lastId, end);
        scores[end] = worstScore;
        ids[end] = worstId;
      }
      return size;
    },
  };
}
