/** Learns from finished steps how many prompt tokens fit into a given time. */
export interface StepRate {
  /**
   * @param durationMs time of the whole step
   * @param decodeCount rows decoded in it
   * @param chunkTokens prompt tokens computed in it
   * @param chunkStart position of the first of them: attention takes longer far into a prompt
   */
  observe(durationMs: number, decodeCount: number, chunkTokens: number, chunkStart: number): void;
  /** Prompt tokens from `start` on that take about `budgetMs`; a few before anything was measured. */
  tokensIn(budgetMs: number, start: number): number;
  /** Of prompts near their start, alone or beside decodes; null before anything was measured. */
  tokensPerSecond(): number | null;
}

/** Weight of the newest measurement in the moving averages. */
const NEWEST = 0.3;
/** Chunks shorter than this, in tokens, tell more about overhead than about the rate. */
const SHORTEST_MEASURED = 8;
/** Rates are kept apart by depth, in steps of so many tokens. */
const DEPTH_TOKENS = 2048;
/** What to compute before any rate is known, in tokens. */
const FIRST_CHUNK_TOKENS = 32;
/** Part of a budget that is planned with: steps vary. */
const PLANNED_PART = 0.85;

export function createStepRate(): StepRate {
  let decodeMs = 0;
  /** Milliseconds a token, by depth. */
  const perTokenMs: number[] = [];

  /** The rate at this depth, else the nearest shallower one, else the nearest deeper one. */
  function rateAt(depth: number): number | undefined {
    for (let at = depth; at >= 0; at--) if (perTokenMs[at] !== undefined) return perTokenMs[at];
    return perTokenMs.find((rate) => rate !== undefined);
  }

  return {
    observe(durationMs, decodeCount, chunkTokens, chunkStart) {
      if (chunkTokens === 0) {
        if (decodeCount > 0) decodeMs += NEWEST * (durationMs - decodeMs);
        return;
      }
      if (chunkTokens < SHORTEST_MEASURED) return;
      const chunkMs = Math.max(0, durationMs - (decodeCount > 0 ? decodeMs : 0));
      const measured = chunkMs / chunkTokens;
      const depth = Math.floor(chunkStart / DEPTH_TOKENS);
      const known = perTokenMs[depth];
      perTokenMs[depth] = known === undefined ? measured : known + NEWEST * (measured - known);
    },
    tokensIn(budgetMs, start) {
      const rate = rateAt(Math.floor(start / DEPTH_TOKENS));
      if (rate === undefined) return FIRST_CHUNK_TOKENS;
      return Math.floor((PLANNED_PART * Math.max(0, budgetMs)) / rate);
    },
    tokensPerSecond() {
      const rate = rateAt(0);
      return rate === undefined || rate === 0 ? null : 1000 / rate;
    },
  };
}
