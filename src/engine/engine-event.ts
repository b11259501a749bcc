import type { Outcome } from './sequence.ts';

/** What happens inside an engine, for logs and measurements; never with prompts or answers. */
export type EngineEvent =
  | {
      readonly type: 'sequence-begin';
      readonly promptTokens: number;
      /** Tokens it need not compute. */
      readonly cachedTokens: number;
      /** It goes on after it had to make way. */
      readonly isResumed: boolean;
    }
  | {
      readonly type: 'step';
      /** Rows that decoded one token. */
      readonly decodeCount: number;
      /** Tokens guessed to follow, and checked. */
      readonly draftTokens: number;
      /** Prompt tokens computed. */
      readonly chunkTokens: number;
      readonly durationMs: number;
    }
  | { readonly type: 'step-failed'; readonly error: unknown }
  /** Moving rows or pages failed; what was lost is computed again. */
  | { readonly type: 'kv-failed'; readonly error: unknown }
  | {
      readonly type: 'preemption';
      /** Tokens in the row it lost. */
      readonly computedTokens: number;
    }
  | {
      readonly type: 'sequence-end';
      readonly outcome: Outcome;
      readonly promptTokens: number;
      readonly cachedTokens: number;
      readonly completionTokens: number;
    };
