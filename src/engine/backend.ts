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
  /** What one token takes in a {@link KvPage}. */
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
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
  /**
   * Whether the local ring of `row` still holds the window before `length`, so that `truncate` and
   * `copyRow` can cut there. Always for 0.
   * @param length 0..length(row)
   */
  canCut(row: number, length: number): boolean;
  /**
   * Copies the first `length` tokens of row `from` into row `to`, as if `to` had computed them.
   * @throws RangeError unless `canCut(from, length)`
   */
  copyRow(from: number, to: number, length: number): void;
  /** Exchanges what two rows hold. */
  swapRows(a: number, b: number): void;
  /**
   * Cuts `row` back to `length` tokens. When the local ring no longer holds the window before
   * the cut the row is emptied instead.
   * @returns tokens really kept: `length` or 0
   */
  truncate(row: number, length: number): number;
  /**
   * Copies the keys and values of tokens [from, to) out of `row`.
   * @param from 0..to - 1; `to` at most length(row)
   */
  readKv(row: number, from: number, to: number): Promise<KvPage>;
  /**
   * Makes `row` hold `length` tokens, with the bits it would hold had it computed them: on global
   * layers its own first `keep` tokens and the rest from `pages`, on local layers the window before
   * `length` from `pages`. A failed write leaves the row empty.
   * @param pages ascending and adjacent; together they hold the global part of [keep, length) and the
   *   local part of [length - windowTokens + 1, length), 0 at least
   * @param keep 0..length(row)
   * @throws RangeError when the pages do not hold that
   */
  writeKv(row: number, pages: readonly KvPage[], length: number, keep: number): Promise<void>;
  /** Frees the device memory. Waits for a running `forward`; later calls throw. */
  close(): Promise<void>;
}

/**
 * Keys and values of tokens [start, start + count) of a sequence, out of any row, in the backend's own
 * layout: readable by any backend of the same model, kind and precision.
 */
export interface KvPage {
  /** Absolute position of the first token. */
  readonly start: number;
  readonly count: number;
  /** Global layers: [count * kvTokenBytes.global] */
  readonly global: Uint8Array;
  /** First position of the local part; `start + count` when the ring held none of it any more. */
  readonly localStart: number;
  /** Local layers of tokens [localStart, start + count): [that many * kvTokenBytes.local] */
  readonly local: Uint8Array;
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
