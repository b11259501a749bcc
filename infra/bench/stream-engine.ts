import type { PromptImage } from '../../src/engine/engine.ts';

/** What the batch suite asks of either engine. */
export interface StreamEngine {
  readonly label: string;
  /**
   * Decodes `prompts.length` streams at once, greedily.
   * @returns tokens per second of all streams together, from the moment when all decode
   */
  throughput(prompts: readonly Int32Array[], decodeTokens: number): Promise<number>;
  /** Lets `prompts` decode while `arrivals` come, each after the first token of the one before. */
  gaps(prompts: readonly Int32Array[], arrivals: readonly Arrival[]): Promise<GapResult>;
  close(): Promise<void>;
}

export interface Arrival {
  readonly tokens: Int32Array;
  readonly images: readonly PromptImage[];
}

export interface GapResult {
  /** Milliseconds between tokens of the running streams while the prompts arrived. */
  readonly gapsMs: readonly number[];
  /** Until each arriving prompt's first token. */
  readonly arrivalMs: readonly number[];
  /** Median gap with nothing beside. */
  readonly aloneMs: number;
}

export interface StreamEngineSettings {
  readonly threads: number;
  readonly contextTokens: number;
  /** Sequences at once, at most. */
  readonly rowCount: number;
}

/** Tokens of each stream before the first prompt arrives. */
export const ALONE_TOKENS = 24;
