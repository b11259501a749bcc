/** What the batch suite asks of either engine. */
export interface StreamEngine {
  readonly label: string;
  /**
   * Decodes `prompts.length` streams at once, greedily.
   * @returns tokens per second of all streams together, from the moment when all decode
   */
  throughput(prompts: readonly Int32Array[], decodeTokens: number): Promise<number>;
  /**
   * Lets `prompts` decode while `arriving` is computed beside them.
   * @returns milliseconds between tokens of the running streams until its first token
   */
  gaps(prompts: readonly Int32Array[], arriving: Int32Array): Promise<GapResult>;
  close(): Promise<void>;
}

export interface GapResult {
  readonly gapsMs: readonly number[];
  /** Until the arriving prompt's first token. */
  readonly arrivalMs: number;
  /** Median gap with nothing beside. */
  readonly aloneMs: number;
}

export interface StreamEngineSettings {
  readonly threads: number;
  readonly contextTokens: number;
  /** Sequences at once, at most. */
  readonly rowCount: number;
}
