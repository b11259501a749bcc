import { createPhaseTimes, type PhaseTimer, type PhaseTimes } from './phase-times.ts';
import type { Plan } from './scheduler.ts';
import type { Sequence } from './sequence.ts';
import { createStepRate } from './step-rate.ts';

/** What finished steps tell about those to come, and what they took in all. */
export interface StepMeter {
  readonly steps: number;
  /** Chunks of prompts computed. */
  readonly chunks: number;
  readonly phaseMs: PhaseTimes;
  readonly phases: Pick<PhaseTimer, 'add'>;
  observe(plan: Plan<Sequence>, durationMs: number): void;
  /** Of prompts; null before anything was measured. */
  readonly prefillTokensPerSecond: number | null;
  /** Prompt tokens from `start` on that take about `budgetMs`. */
  tokensIn(budgetMs: number, start: number): number;
}

export function createStepMeter(): StepMeter {
  const rate = createStepRate();
  const phases = createPhaseTimes();
  let steps = 0;
  let chunks = 0;
  return {
    get steps() {
      return steps;
    },
    get chunks() {
      return chunks;
    },
    get phaseMs() {
      return phases.read();
    },
    phases,
    get prefillTokensPerSecond() {
      return rate.tokensPerSecond();
    },
    observe({ decode, chunk, draft }, durationMs) {
      const chunkTokens = chunk === null ? 0 : chunk.end - chunk.start;
      steps++;
      if (chunk !== null) chunks++;
      phases.addStep(durationMs, draft === null ? decode.length : 1, chunkTokens);
      // Logits of every position, and drafts, are not what a chunk of a prompt takes.
      if (chunk?.logits === 'all' || draft !== null) return;
      rate.observe(durationMs, decode.length, chunkTokens, chunk?.start ?? 0);
    },
    tokensIn: (budgetMs, start) => rate.tokensIn(budgetMs, start),
  };
}
