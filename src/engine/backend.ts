import type { ModelConfig } from '../model/config.ts';

/**
 * The one interface a device adapter implements: token ids and image embeddings in, logits out,
 * over a fixed number of KV rows. No text, no HTTP, no policy.
 *
 * A row holds the keys and values of one sequence. Global layers keep every token up to
 * `rowTokens`; local (sliding window) layers keep a ring of recent tokens, so cutting a row back
 * is bounded: see `truncate`.
 */
export interface Backend {
  readonly config: ModelConfig;
  /** Number of KV rows, each able to hold one running sequence. */
  readonly rowCount: number;
  /** Capacity of one row, in tokens. */
  readonly rowTokens: number;
  /** Longest text chunk one `forward` accepts, in tokens. */
  readonly chunkTokens: number;
  /** Tokens now held by `row`. */
  length(row: number): number;
  /**
   * Runs the vision tower and the projector; loads them on first use. May run beside `forward`.
   * @param pixels [count, 3, size, size], RGB, (x/255 - mean) / std
   * @returns [count, tokensPerImage, hiddenSize], not scaled
   */
  encodeImages(pixels: Float32Array, count: number, signal?: AbortSignal): Promise<Float32Array>;
  /** Advances rows; see {@link ForwardStep}. The result is valid until the next `forward`. */
  forward(step: ForwardStep): Promise<StepLogits>;
  /** Copies the first `length` tokens of row `from` into row `to`, as if `to` had computed them. */
  copyRow(from: number, to: number, length: number): void;
  /**
   * Cuts `row` back to `length` tokens. When the local ring no longer holds the window before
   * the cut the row is emptied instead.
   * @returns tokens really kept: `length` or 0
   */
  truncate(row: number, length: number): number;
  /** Frees the device memory. Waits for a running `forward`; later calls throw. */
  close(): Promise<void>;
}

/** One batched decode over rows and at most one prefill chunk; both may be present. */
export interface ForwardStep {
  /** One token for each listed row, ascending by row. `start` must equal the row's length. */
  readonly decode: readonly DecodeEntry[];
  readonly chunk: PrefillChunk | null;
}

export interface DecodeEntry {
  readonly row: number;
  readonly start: number;
  readonly token: number;
}

/**
 * Part of a prompt: text of 1 to `chunkTokens` tokens, or exactly one image run. Lengths that are one
 * more than a multiple of 16 may round differently from others; see `chunkLength` in scheduler.ts.
 */
export interface PrefillChunk {
  readonly row: number;
  /** Must equal the row's length. */
  readonly start: number;
  readonly tokens: Int32Array;
  /**
   * Present when the chunk is an image run, [tokensPerImage, hiddenSize]: replaces the embedding
   * rows, and its tokens attend to each other in both directions.
   */
  readonly image: Float32Array | null;
  /** Which positions of the chunk get logits. */
  readonly logits: 'none' | 'last' | 'all';
}

export interface StepLogits {
  /** [decode.length, vocabSize] */
  readonly decode: Float32Array;
  /** [positions asked for, vocabSize]; empty when none */
  readonly chunk: Float32Array;
}
