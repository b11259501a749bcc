import type { KvStoreStats } from './kv/kv-store.ts';
import type { ModelConfig } from '../model/config.ts';

/**
 * The seam between serving and computing: a prepared prompt in, token events out. Ids, pixels and
 * bytes only: no HTTP, no templates, no users below this line.
 */
export interface Engine {
  readonly model: EngineModel;
  readonly state: EngineState;
  /**
   * Generates one completion. Breaking out of the loop or aborting frees its row within one step.
   * @throws ServeError context_length_exceeded, queue_full, draining, reader_stalled; the signal's reason on abort
   */
  generate(
    prompt: PreparedPrompt,
    params: SamplingParams,
    signal?: AbortSignal,
  ): AsyncIterable<GenerateEvent>;
  stats(): EngineStats;
  /** Refuses new work, lets the rest finish until `deadlineMs` from now, aborts what is left. */
  drain(deadlineMs: number): Promise<void>;
  close(): Promise<void>;
}

export type EngineState = 'loading' | 'ready' | 'draining' | 'closed';

export interface EngineModel {
  readonly config: ModelConfig;
  /** Longest prompt plus completion, in tokens. */
  readonly contextTokens: number;
  readonly precision: 'exact' | 'fast';
}

export interface EngineStats {
  readonly running: number;
  readonly waiting: number;
  readonly rowCount: number;
  /** Rows that keep an ended sequence for its next turn. */
  readonly warmRows: number;
  /** Fraction of row tokens in use by running sequences, 0..1. */
  readonly kvUsage: number;
  /** KV pages in host memory. */
  readonly pages: {
    readonly count: number;
    readonly bytes: number;
    readonly budgetBytes: number;
  };
  /** The store beyond host memory; null where there is none. */
  readonly store: KvStoreStats | null;
  readonly totals: EngineTotals;
}

/** Counters since the engine was created. */
export interface EngineTotals {
  /** Prompt tokens looked up for reuse. */
  readonly prefixQueryTokens: number;
  /** Of these, found in the row the sequence got, copied from another row, restored from pages. */
  readonly prefixHitTokens: {
    readonly row: number;
    readonly copy: number;
    readonly pages: number;
  };
  /** Running sequences whose row was taken for others. */
  readonly preemptions: number;
  /** Of these, rows that went from a tenant with more than its share to another. */
  readonly fairPreemptions: number;
  /** Answers given up because nobody read them. */
  readonly stalledReaders: number;
  /** Sequences begun anew because what was reused for them gave no usable logits. */
  readonly distrusted: number;
  /** Waiting sequences refused because other tenants had fewer places in the queue. */
  readonly displaced: number;
  /** Tokens computed again after a preemption, because their pages were gone. */
  readonly recomputedTokens: number;
  readonly pagesWritten: number;
  readonly pagesRestored: number;
  readonly pagesEvicted: number;
  readonly imagesEncoded: number;
  /** Images whose embeddings were still there. */
  readonly imageHits: number;
  readonly steps: number;
  /** Tokens guessed ahead and checked in one step, and those that held. */
  readonly speculation: {
    readonly drafts: number;
    readonly draftTokens: number;
    readonly acceptedTokens: number;
  };
  /** Milliseconds in steps by what they computed, and in moving rows and pages between steps. */
  readonly phaseMs: {
    readonly decode: number;
    readonly prefill: number;
    /** Steps with both. */
    readonly mixed: number;
    readonly rowMoves: number;
  };
}

/** What the engine computes on: token ids, with each image's run of soft tokens in place. */
export interface PreparedPrompt {
  readonly tokens: Int32Array;
  /** Ascending by position. */
  readonly images: readonly PromptImage[];
  /**
   * Ranges of `tokens` that are text of the assistant, ascending. Where the engine itself said that
   * very text at that place, it goes on from the ids it said.
   */
  readonly assistantSpans: readonly TokenSpan[];
  /** Sequences share keys and values only within one scope: a tenant, as a rule. */
  readonly scope: string;
  /**
   * Whom it is computed for: rows and places in the queue are shared fairly among tenants. Left out, it is
   * one tenant with all others that name none.
   */
  readonly tenant?: string;
  /** The conversation whose turn this is, where it has a name. */
  readonly session?: SessionRef | null;
  /**
   * Ids of the answer that were generated elsewhere. The answer goes on after them as it would have
   * there; of the prompt and of them no events come again. Their prompt is taken as it is.
   */
  readonly answer?: Int32Array;
}

export interface SessionRef {
  /** Who it belongs to; opaque. */
  readonly tenant: string;
  /** Unique within the tenant. */
  readonly id: string;
  /** Names the turn: choices of one request have the same. */
  readonly turn: string;
}

/** Tokens [start, end). */
export interface TokenSpan {
  readonly start: number;
  readonly end: number;
}

export interface PromptImage {
  /** Index in `tokens` of the first of the image's `tokensPerImage` soft tokens. */
  readonly position: number;
  readonly image: PreparedImage;
}

/** An image decoded, cropped and resized to what the vision tower takes. */
export interface PreparedImage {
  /** [size, size, 3], RGB, 0..255; empty where `original` stands for it. */
  readonly rgb: Uint8Array;
  /** Lower-case hex SHA-256 of `rgb`; of a view of an original, of what names that view. */
  readonly sha256: string;
  /** Too large to decode here: the replica that computes it does. No backend ever sees it. */
  readonly original?: OriginalView;
}

/** One of the views that a picture's file becomes. */
export interface OriginalView {
  readonly file: Uint8Array;
  /** Lower-case hex SHA-256 of `file`. */
  readonly fileSha256: string;
  readonly panAndScan: boolean;
  /** 0 is the whole picture, then its crops. */
  readonly view: number;
  readonly viewCount: number;
}

/** How the next token is chosen. All fields are filled and in range. */
export interface SamplingParams {
  /** Tokens to generate at most, >= 0; 0 only computes the prompt. */
  readonly maxTokens: number;
  /** 0 picks the most likely token; ties go to the lower id. */
  readonly temperature: number;
  /** Keeps the k most likely tokens; 0 is off. */
  readonly topK: number;
  /** Keeps the smallest set whose probability reaches this; 1 is off. */
  readonly topP: number;
  /** Drops tokens below this fraction of the most likely one's probability; 0 is off. */
  readonly minP: number;
  /** > 0; divides positive and multiplies negative logits of tokens in prompt and output; 1 is off. */
  readonly repetitionPenalty: number;
  /** -2..2, subtracted once for tokens in the output. */
  readonly presencePenalty: number;
  /** -2..2, subtracted per occurrence in the output. */
  readonly frequencyPenalty: number;
  /** Added to logits; -100 bans, 100 forces. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** 0..2^32-1. The same seed gives the same tokens, whatever else runs. */
  readonly seed: number;
  /** Stop strings as UTF-8; the output ends before the first match. */
  readonly stop: readonly Uint8Array[];
  /** Ids that end the output, beside the model's own; they stay out of the text. */
  readonly stopIds: readonly number[];
  /** Ids that may be chosen; null allows all. */
  readonly allowedIds: readonly number[] | null;
  /** Tokens before which neither an id nor a stop string ends the output; at most `maxTokens`. */
  readonly minTokens: number;
  /** Keeps going past the model's end-of-sequence ids. */
  readonly ignoreEos: boolean;
  /** The output ends after the stop string, or the text of the stop id, instead of before it. */
  readonly includesStop: boolean;
  /** Alternatives to report per generated token, 0..20; null reports no log probabilities. */
  readonly logprobs: number | null;
  /** Alternatives to report per prompt token, 0..20; null reports none. */
  readonly promptLogprobs: number | null;
}

export interface TokenLogprob {
  readonly id: number;
  /** Natural log of the softmax of the model's own logits, before temperature and filters. */
  readonly logprob: number;
}

export interface TokenLogprobs {
  readonly logprob: number;
  /** Most likely first, ties by id. */
  readonly top: readonly TokenLogprob[];
}

export type GenerateEvent =
  | {
      readonly type: 'prefill-end';
      /** The prompt as computed: with the ids the engine said itself, see `assistantSpans`. */
      readonly tokens: Int32Array;
      readonly promptTokens: number;
      readonly cachedTokens: number;
      /** null: there is no store, or it held nothing beyond what was here. */
      readonly store: StoreUse | null;
      /** One entry per prompt token when asked for; the first is null. */
      readonly promptLogprobs: readonly (TokenLogprobs | null)[] | null;
    }
  | {
      readonly type: 'token';
      readonly id: number;
      /**
       * Bytes of text this token sets free. Empty for special tokens and while a possible stop
       * string is held back; later tokens then bring the held bytes.
       */
      readonly bytes: Uint8Array;
      readonly logprobs: TokenLogprobs | null;
    }
  | {
      readonly type: 'finish';
      readonly reason: FinishReason;
      /** Bytes still held back that turned out not to be a stop string. */
      readonly bytes: Uint8Array;
      /** Index into `stop` when a stop string ended it. */
      readonly stopIndex: number | null;
      /** The id that ended it; it is not part of the text. */
      readonly stopId: number | null;
      readonly promptTokens: number;
      readonly cachedTokens: number;
      readonly completionTokens: number;
      readonly timings: Timings;
    };

export type FinishReason = 'stop' | 'length';

/** What became of what a store held of a prompt. */
export interface StoreUse {
  /** The faster way, by measured rates. */
  readonly choice: 'restore' | 'recompute';
  /** Prompt tokens that the store held and this process did not. */
  readonly tokens: number;
}

export interface Timings {
  readonly queueMs: number;
  readonly prefillMs: number;
  readonly decodeMs: number;
}

/** Bytes of every token, for stop strings: special tokens have none. */
export interface TokenBytes {
  readonly vocabSize: number;
  /** UTF-8 bytes (or part of a character) that `id` adds to the text. */
  bytes(id: number): Uint8Array;
  /** Ids that sampling never chooses: padding rows, image markers, `<pad>`, `<bos>`. */
  readonly suppressed: readonly number[];
}
