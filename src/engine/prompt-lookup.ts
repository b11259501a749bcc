/** Guesses what comes next from what came after the same tokens before. */
export interface PromptLookup {
  /**
   * Tokens that followed the latest earlier occurrence of the last tokens of `words`.
   * @param words ids of prompt and answer; looked at up to `length` only. Between calls they grow.
   * @param most tokens to propose
   * @returns 0 to `most` ids
   */
  propose(words: Int32Array, length: number, most: number): Int32Array;
}

/** Tokens that must agree: shorter ones recur by chance, longer ones miss what recurs. */
const MATCHED_TOKENS = 3;
const NOTHING = new Int32Array(0);

/** @param isOpaque positions that hold no text: nothing from there on is proposed */
export function createPromptLookup(isOpaque: (position: number) => boolean): PromptLookup {
  /** By hash of the tokens before it: the latest position known. Collisions are found by comparing. */
  const positions = new Map<number, number>();
  let indexed = MATCHED_TOKENS;

  return {
    propose(words, length, most) {
      // Not the last tokens themselves, which have no successor yet.
      for (; indexed < length; indexed++) positions.set(hashBefore(words, indexed), indexed);
      if (length < MATCHED_TOKENS) return NOTHING;
      const at = positions.get(hashBefore(words, length));
      if (at === undefined || !isSameBefore(words, at, length)) return NOTHING;
      const draft = new Int32Array(most);
      for (let i = 0; i < most; i++) {
        if (isOpaque(at + i)) return draft.subarray(0, i);
        // Beyond what is known the guess goes on from itself: repetition repeats.
        draft[i] = (at + i < length ? words[at + i] : draft[at + i - length]) ?? 0;
      }
      return draft;
    },
  };
}

function hashBefore(words: Int32Array, end: number): number {
  let hash = 0;
  for (let at = end - MATCHED_TOKENS; at < end; at++) {
    hash = Math.imul(hash ^ (words[at] ?? 0), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return hash;
}

function isSameBefore(words: Int32Array, a: number, b: number): boolean {
  for (let back = 1; back <= MATCHED_TOKENS; back++) {
    if (words[a - back] !== words[b - back]) return false;
  }
  return true;
}
