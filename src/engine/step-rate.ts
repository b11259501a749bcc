/** Learns from finished steps how many prompt tokens fit into a given time. */
export interface StepRate {
  /**
   * @param durationMs time of the whole step
   * @param decodeCount rows decoded in it
   * @param chunkTokens prompt tokens computed in it
   */
  observe(durationMs: number, decodeCount: number, chunkTokens: number): void;
  /** Prompt tokens that take about `budgetMs`; Infinity before anything was measured. */
  tokensIn(budgetMs: number): number;
}

/** Weight of the newest measurement in the moving averages. */
const NEWEST = 0.3;
/** Chunks shorter than this, in tokens, tell more about overhead than about the rate. */
const SHORTEST_MEASURED = 8;

export function createStepRate(): StepRate {
  let decodeMs = 0;
  let perTokenMs: number | null = null;
  return {
    observe(durationMs, decodeCount, chunkTokens) {
      if (chunkTokens === 0) {
        if (decodeCount > 0) decodeMs += NEWEST * (durationMs - decodeMs);
        return;
      }
      if (chunkTokens < SHORTEST_MEASURED) return;
      const chunkMs = Math.max(0, durationMs - (decodeCount > 0 ? decodeMs : 0));
      const measured = chunkMs / chunkTokens;
      perTokenMs = perTokenMs === null ? measured : perTokenMs + NEWEST * (measured - perTokenMs);
    },
    tokensIn(budgetMs) {
      return perTokenMs === null ? Number.POSITIVE_INFINITY : Math.floor(budgetMs / perTokenMs);
    },
  };
}
