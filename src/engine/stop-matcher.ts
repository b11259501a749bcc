/** What one token's bytes set free. */
export interface StopResult {
  /** Bytes certain to be in the text, in order; includes bytes held back earlier. */
  readonly released: Uint8Array;
  /** Index of the stop string that just completed, or null. */
  readonly stopIndex: number | null;
}

export interface StopMatcher {
  /** Takes the bytes of one token; not to be called after a match. */
  push(bytes: Uint8Array): StopResult;
  /** Gives up waiting: the bytes still held back are text after all. */
  flush(): Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

/**
 * Finds stop strings in a stream of bytes, however tokens cut it. Holds back exactly the bytes
 * that may still become a stop string.
 *
 * The first stop string to be complete wins, so the text never depends on how tokens split it;
 * when several end on the same byte, the longest, since it begins first. Of "a" and "ab", "ab"
 * therefore never matches.
 * @param includesStop the stop string is released too
 * @throws RangeError for an empty stop string
 */
export function createStopMatcher(stops: readonly Uint8Array[], includesStop = false): StopMatcher {
  if (stops.length === 0) {
    return { push: (released) => ({ released, stopIndex: null }), flush: () => NO_BYTES };
  }
  const failures = stops.map(failureTable);
  /** Per stop string: how many of its bytes the stream now ends with. */
  const matched = new Uint32Array(stops.length);
  let held: Uint8Array = NO_BYTES;

  return {
    push(bytes) {
      if (bytes.length === 0) return { released: NO_BYTES, stopIndex: null };
      const pending = concat(held, bytes);
      for (let at = 0; at < bytes.length; at++) {
        const stopIndex = advance(stops, failures, matched, bytes[at] ?? 0);
        if (stopIndex === null) continue;
        const end = held.length + at + 1;
        held = NO_BYTES;
        matched.fill(0);
        const cut = includesStop ? 0 : (stops[stopIndex]?.length ?? 0);
        return { released: pending.subarray(0, end - cut), stopIndex };
      }
      let holdCount = 0;
      for (let index = 0; index < matched.length; index++) {
        holdCount = Math.max(holdCount, matched[index] ?? 0);
      }
      const released = pending.subarray(0, pending.length - holdCount);
      held = pending.subarray(pending.length - holdCount);
      return { released, stopIndex: null };
    },
    flush() {
      const rest = held;
      held = NO_BYTES;
      matched.fill(0);
      return rest;
    },
  };
}

/** Moves every stop string's state over one byte; returns the longest one completed by it. */
function advance(
  stops: readonly Uint8Array[],
  failures: readonly Uint32Array[],
  matched: Uint32Array,
  byte: number,
): number | null {
  let best: number | null = null;
  let bestLength = 0;
  for (let index = 0; index < stops.length; index++) {
    const stop = stops[index] ?? NO_BYTES;
    let state = matched[index] ?? 0;
    while (state > 0 && stop[state] !== byte) state = failures[index]?.[state - 1] ?? 0;
    if (stop[state] === byte) state++;
    matched[index] = state;
    if (state === stop.length && state > bestLength) {
      best = index;
      bestLength = state;
    }
  }
  return best;
}

/** Knuth-Morris-Pratt: for each prefix, the length of its longest proper border. */
function failureTable(stop: Uint8Array): Uint32Array {
  if (stop.length === 0) throw new RangeError('a stop string must not be empty');
  const table = new Uint32Array(stop.length);
  let state = 0;
  for (let at = 1; at < stop.length; at++) {
    while (state > 0 && stop[state] !== stop[at]) state = table[state - 1] ?? 0;
    if (stop[state] === stop[at]) state++;
    table[at] = state;
  }
  return table;
}

export function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  if (second.length === 0) return first;
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}
