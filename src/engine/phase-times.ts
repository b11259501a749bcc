/** Milliseconds by what they were spent on. */
export interface PhaseTimes {
  readonly decode: number;
  readonly prefill: number;
  /** Steps that decoded and computed a chunk. */
  readonly mixed: number;
  /** Rows and pages moved between steps. */
  readonly rowMoves: number;
}

export interface PhaseTimer {
  add(phase: keyof PhaseTimes, durationMs: number): void;
  addStep(durationMs: number, decodeCount: number, chunkTokens: number): void;
  read(): PhaseTimes;
}

export function createPhaseTimes(): PhaseTimer {
  const spent: Record<keyof PhaseTimes, number> = { decode: 0, prefill: 0, mixed: 0, rowMoves: 0 };
  return {
    add(phase, durationMs) {
      spent[phase] += durationMs;
    },
    addStep(durationMs, decodeCount, chunkTokens) {
      const alone = chunkTokens === 0 ? 'decode' : 'prefill';
      spent[chunkTokens > 0 && decodeCount > 0 ? 'mixed' : alone] += durationMs;
    },
    read: () => ({ ...spent }),
  };
}
