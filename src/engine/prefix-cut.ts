/** Tokens under consideration, by ascending id. */
export interface Candidates {
  /** [capacity] the first `count` are in use */
  readonly ids: Int32Array;
  /** [capacity] as filtered, finite */
  readonly scores: Float32Array;
  /** [capacity] softmax weight of each, the largest being 1 */
  readonly weights: Float64Array;
  count: number;
}

export function createCandidates(capacity: number): Candidates {
  return {
    ids: new Int32Array(capacity),
    scores: new Float32Array(capacity),
    weights: new Float64Array(capacity),
    count: 0,
  };
}

export interface PrefixCut {
  /**
   * Finds the last token of the shortest prefix, in "score descending, id ascending", whose weights
   * reach `target`, or of all of them. There is always one. Sums go by ascending id.
   * @param margin how much sums may be wrong by; 0 takes them as they are
   * @returns its place among the candidates; -1 when it is too close to call with this margin
   */
  find(candidates: Candidates, target: number, margin: number): number;
}

/** Below this many, sorting beats another histogram. */
const SORT_BELOW = 24;
const BUCKETS = 1024;

/**
 * Creates what finds cuts without sorting: a histogram over the scores tells in which bucket the cut
 * lies, that bucket gets a histogram of its own, and so on.
 */
export function createPrefixCut(capacity: number): PrefixCut {
  /** Those of the bucket looked into; `ids` are places among the candidates. */
  const inner = createCandidates(capacity);
  const sums = new Float64Array(BUCKETS);

  return {
    find(candidates, target, margin) {
      let from = candidates;
      let mass = 0;
      /** Whether better ones than those in `from` are behind us. */
      let hasBetter = false;
      for (;;) {
        const most = largest(from);
        const least = smallest(from);
        if (most === least || from.count <= SORT_BELOW) break;
        const scale = (BUCKETS - 1) / (most - least);
        sums.fill(0);
        addUp(from, most, scale, sums);
        const last = ((most - least) * scale) | 0;
        let bucket = 0;
        while (bucket < last && mass + (sums[bucket] ?? 0) < target) mass += sums[bucket++] ?? 0;
        hasBetter ||= bucket > 0;
        takeBucket(from, most, scale, bucket, inner, from === candidates);
        from = inner;
      }
      if (from === candidates) {
        takeBucket(from, 0, 0, 0, inner, true);
        from = inner;
      }
      sortByScores(from);
      const { weights, count } = from;
      let at = -1;
      let before = mass;
      do {
        before = mass;
        at++;
        mass += weights[at] ?? 0;
      } while (mass < target && at < count - 1);
      // The first of all is kept whatever the target: only the others need be reached for.
      const isFirst = at === 0 && !hasBetter;
      const isSure = (isFirst || before <= target - margin) && mass >= target + margin;
      return isSure || margin === 0 ? (from.ids[at] ?? 0) : -1;
    },
  };
}

function largest({ scores, count }: Candidates): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let at = 0; at < count; at++) if ((scores[at] ?? 0) > most) most = scores[at] ?? 0;
  return most;
}

function smallest({ scores, count }: Candidates): number {
  let least = Number.POSITIVE_INFINITY;
  for (let at = 0; at < count; at++) if ((scores[at] ?? 0) < least) least = scores[at] ?? 0;
  return least;
}

function addUp(from: Candidates, most: number, scale: number, sums: Float64Array): void {
  const { scores, weights, count } = from;
  for (let at = 0; at < count; at++) {
    const bucket = ((most - (scores[at] ?? 0)) * scale) | 0;
    sums[bucket] = (sums[bucket] ?? 0) + (weights[at] ?? 0);
  }
}

/** Moves those of one bucket to the front of `to`, which may be `from`. */
function takeBucket(
  from: Candidates,
  most: number,
  scale: number,
  bucket: number,
  to: Candidates,
  isOuter: boolean,
): void {
  const { ids, scores, weights, count } = from;
  let taken = 0;
  for (let at = 0; at < count; at++) {
    const score = scores[at] ?? 0;
    if ((((most - score) * scale) | 0) !== bucket) continue;
    to.ids[taken] = isOuter ? at : (ids[at] ?? 0);
    to.scores[taken] = score;
    to.weights[taken++] = weights[at] ?? 0;
  }
  to.count = taken;
}

/** Insertion sort by descending score; stable, so that ids of equal scores go on ascending. */
function sortByScores({ ids, scores, weights, count }: Candidates): void {
  for (let at = 1; at < count; at++) {
    const id = ids[at] ?? 0;
    const score = scores[at] ?? 0;
    const weight = weights[at] ?? 0;
    let to = at;
    while (to > 0 && (scores[to - 1] ?? 0) < score) {
      ids[to] = ids[to - 1] ?? 0;
      scores[to] = scores[to - 1] ?? 0;
      weights[to] = weights[to - 1] ?? 0;
      to--;
    }
    ids[to] = id;
    scores[to] = score;
    weights[to] = weight;
  }
}
