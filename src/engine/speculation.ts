import { createPromptLookup, type PromptLookup } from './prompt-lookup.ts';
import type { Plan } from './scheduler.ts';

/** What speculation sees of a sequence. */
export interface Draftable {
  /** Content of prompt and completion, `knownTokens` of them so far. */
  readonly words: Int32Array;
  readonly knownTokens: number;
  readonly maxTokensLeft: number;
  isSoftToken(position: number): boolean;
}

export interface SpeculationTotals {
  readonly drafts: number;
  readonly draftTokens: number;
  readonly acceptedTokens: number;
}

/**
 * Prompt-lookup speculation: where a lone answer repeats what stands in its conversation, the tokens
 * that followed there are checked in one step, and those that would have been chosen anyway are kept.
 * The choice of each token uses the same draw as without, so only rounding tells the difference: a
 * checked token is computed as prompt tokens are. It measures what it gains and leaves off where it
 * does not.
 */
export interface Speculation<S extends Draftable> {
  readonly totals: SpeculationTotals;
  /** The plan as it is, or with a draft in place of its one decode. */
  plan(plan: Plan<S>): Plan<S>;
  /** A decode of one row, alone. */
  observeDecode(durationMs: number): void;
  observeDraft(sequence: S, draftTokens: number, accepted: number, durationMs: number): void;
  end(sequence: S): void;
}

/**
 * Lengths of drafts, in tokens: with the one before them they fill kernels' blocks of 4, and stay
 * far below what a row can be cut back by.
 */
export const DRAFT_LENGTHS = [3, 7] as const;
/** Weight of the newest measurement. */
const NEWEST = 0.2;
/** Part of drafted tokens that hold before any was checked. */
const FIRST_ACCEPTANCE = 0.6;
/** Where drafts lose, one of so many chances is taken: texts change. */
const RETRY_EVERY = 48;

/** @param chunkTokens longest chunk the backend takes */
export function createSpeculation<S extends Draftable>(chunkTokens: number): Speculation<S> {
  const longestDraft = Math.min(DRAFT_LENGTHS[1], chunkTokens - 1);
  const lookups = new Map<S, { readonly lookup: PromptLookup; acceptance: number }>();
  /** Milliseconds of a step by tokens drafted; 0 is a plain decode. */
  const stepMs = new Map<number, number>();
  let missedChances = 0;
  let drafts = 0;
  let draftTokens = 0;
  let acceptedTokens = 0;

  function stateOf(sequence: S): { readonly lookup: PromptLookup; acceptance: number } {
    let state = lookups.get(sequence);
    if (state === undefined) {
      const lookup = createPromptLookup((position) => sequence.isSoftToken(position));
      state = { lookup, acceptance: FIRST_ACCEPTANCE };
      lookups.set(sequence, state);
    }
    return state;
  }

  function observe(drafted: number, durationMs: number): void {
    const known = stepMs.get(drafted);
    stepMs.set(drafted, known === undefined ? durationMs : known + NEWEST * (durationMs - known));
  }

  /** Tokens per millisecond to expect; a length never tried is taken to cost a plain decode. */
  function speed(drafted: number, acceptance: number): number {
    let tokens = 1;
    for (let at = 1; at <= drafted; at++) tokens += acceptance ** at;
    return tokens / (stepMs.get(drafted) ?? stepMs.get(0) ?? Infinity);
  }

  /** The length that is fastest now; 0 where drafts lose, but for a try now and then. */
  function chooseLength(acceptance: number): number {
    if (!stepMs.has(0)) return 0;
    let best = 0;
    for (const length of DRAFT_LENGTHS) {
      if (speed(length, acceptance) > speed(best, acceptance)) best = length;
    }
    if (best > 0) return best;
    missedChances++;
    return missedChances % RETRY_EVERY === 0 ? DRAFT_LENGTHS[0] : 0;
  }

  return {
    get totals() {
      return { drafts, draftTokens, acceptedTokens };
    },
    plan(plan) {
      const [sequence, ...others] = plan.decode;
      if (sequence === undefined || others.length > 0 || plan.chunk !== null) return plan;
      const { lookup, acceptance } = stateOf(sequence);
      // The check itself yields one token more than the draft has.
      const room = sequence.maxTokensLeft - 1;
      const longest = Math.max(0, Math.min(room, longestDraft));
      const found = lookup.propose(sequence.words, sequence.knownTokens, longest);
      if (found.length === 0) return plan;
      const length = Math.min(found.length, chooseLength(acceptance));
      if (length === 0) return plan;
      return { decode: [], chunk: null, draft: { sequence, tokens: found.subarray(0, length) } };
    },
    observeDecode: (durationMs) => observe(0, durationMs),
    observeDraft(sequence, drafted, accepted, durationMs) {
      drafts++;
      draftTokens += drafted;
      acceptedTokens += accepted;
      observe(drafted > DRAFT_LENGTHS[0] ? DRAFT_LENGTHS[1] : DRAFT_LENGTHS[0], durationMs);
      const state = stateOf(sequence);
      const checked = Math.min(drafted, accepted + 1);
      for (let at = 0; at < checked; at++) {
        state.acceptance += NEWEST * ((at < accepted ? 1 : 0) - state.acceptance);
      }
    },
    end(sequence) {
      lookups.delete(sequence);
    },
  };
}
