/**
 * One engine under test, on one sequence: the least that both sides can do the same way. Ids in;
 * nothing is sampled. Every call computes the logits of its last token, as serving does.
 */
export interface BenchEngine {
  /** Such as `llama.cpp v0.5.0, flash attention on`. */
  readonly label: string;
  /** Runs `tokens` after what the sequence holds, in the engine's own chunks. */
  extend(tokens: Int32Array): Promise<void>;
  /** Logits after the last token of the last call, [vocabSize]; a copy. */
  logits(): Promise<Float32Array>;
  /** Empties the sequence. */
  reset(): void;
  close(): Promise<void>;
}

export interface EngineSettings {
  readonly threads: number;
  /** Tokens the sequence can hold. */
  readonly contextTokens: number;
}
