import type {
  EngineStats,
  FinishReason,
  SamplingParams,
  StoreUse,
  Timings,
} from './engine/engine.ts';
import type { FleetState } from './fleet/fleet-state.ts';
import type { FleetStats } from './fleet/fleet-stats.ts';
import type { ReplicaAccess } from './fleet/served-model.ts';
import type { LoadProgress } from './load-progress.ts';
import type { ChatMessage } from './prompt/messages.ts';
import type { SessionControl } from './sessions/session.ts';

/**
 * The upper seam: a validated request in, text deltas and usage out. The HTTP layer knows nothing
 * else; behind it stands our engine or another OpenAI-compatible server.
 */
export interface Completer {
  /** @throws ServeError model_loading while it is not known; `describe` waits for it */
  readonly model: ModelCard;
  /** How the model is, wherever it runs; see `serverState` for the server itself. */
  readonly state: CompleterState;
  /** Finds out about the model without loading it; absent where `model` is always known. */
  describe?(signal?: AbortSignal): Promise<ModelCard>;
  /** Loads what is not loaded and waits for it; absent where nothing is to be loaded. */
  ready?(signal?: AbortSignal): Promise<void>;
  /** How far the load is, or how it went; null while nothing is loaded. */
  progress?(): LoadProgress | null;
  /** Milliseconds until the model is loaded, by how long that took before; null where that tells nothing. */
  readyInMs?(): number | null;
  /** Streams `choiceCount` completions of one prompt; deltas of the choices interleave. */
  complete(request: CompletionRequest, signal?: AbortSignal): AsyncIterable<CompletionEvent>;
  tokenize(request: TokenizeRequest, signal?: AbortSignal): Promise<readonly number[]>;
  detokenize(ids: readonly number[], signal?: AbortSignal): string | Promise<string>;
  /** The conversations that clients named; absent where they are not kept. */
  readonly sessions?: SessionControl;
  /** Gauges and counters for metrics; absent where no engine runs in this process, undefined while none does. */
  stats?(): EngineStats | undefined;
  /** What a gateway passes requests on to; absent where the model is in this process. */
  fleet?(): FleetState;
  /** Counters of a gateway's fleet; absent where there is none. */
  fleetStats?(): FleetStats;
  /** What gateways of a fleet need; absent where prompts are not computed here. */
  readonly replica?: ReplicaAccess;
  /** Refuses new work and lets the rest finish until `deadlineMs` from now. */
  drain(deadlineMs: number): Promise<void>;
  close(): Promise<void>;
}

/** `idle`: nothing is loaded; the next request loads it. */
export type CompleterState = 'idle' | 'loading' | 'ready' | 'draining' | 'closed';

export interface ModelCard {
  readonly id: string;
  /** Seconds since 1970 at which the model was made available. */
  readonly createdSeconds: number;
  /** Longest prompt plus completion, in tokens. */
  readonly contextTokens: number;
  readonly precision: string;
  /** Equal fingerprints, equal checkpoint; absent where it is not known. */
  readonly fingerprint?: string;
  readonly acceptsImages: boolean;
  /** Ids 0..vocabSize-1 are valid. */
  readonly vocabSize: number;
  /** Defaults from generation_config.json, used where a request is silent. */
  readonly defaults: SamplingDefaults;
}

export interface SamplingDefaults {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  /** Completion tokens when the request names no limit; what is left of the context caps it. */
  readonly maxTokens: number;
}

export interface CompletionRequest {
  readonly prompt: PromptInput;
  readonly choiceCount: number;
  /** Keys and values are shared only within one scope: whoever was let in, and their `cache_salt`. */
  readonly scope: string;
  /** Who asks; opaque, the same as for sessions. */
  readonly tenant: string;
  /** The conversation it belongs to, where the client named one. */
  readonly sessionId: string | null;
  /** Choice i uses seed + i (mod 2^32). */
  readonly sampling: Omit<SamplingParams, 'stop' | 'maxTokens'> & {
    readonly stop: readonly string[];
    /** null: what is left of the context, at most the model's default. */
    readonly maxTokens: number | null;
  };
  /** Report the ids of prompt and completion, as vLLM's return_token_ids. */
  readonly returnTokenIds: boolean;
}

export type PromptInput =
  | {
      readonly type: 'chat';
      readonly messages: readonly ChatMessage[];
      /** Refuse what Gemma's own template refuses instead of folding it. */
      readonly strict: boolean;
      /** Add `<start_of_turn>model`; false leaves the last turn as it is. */
      readonly addGenerationPrompt: boolean;
      /** The last assistant message is left open and continued. */
      readonly continueFinalMessage: boolean;
    }
  /** Raw text: `<bos>` is prepended; control tokens in it are plain text. */
  | { readonly type: 'text'; readonly text: string; readonly addBos: boolean }
  | { readonly type: 'tokens'; readonly ids: readonly number[] };

export type TokenizeRequest = PromptInput;

/** A token with its text. */
export interface TokenText {
  readonly id: number;
  /** The token alone, as text; parts of a character show as U+FFFD. */
  readonly text: string;
  /** Its bytes. */
  readonly bytes: readonly number[];
  readonly logprob: number;
}

export interface TokenReport {
  readonly id: number;
  readonly text: string;
  readonly bytes: readonly number[];
  /** null when log probabilities were not asked for, and for the first prompt token. */
  readonly logprob: number | null;
  readonly top: readonly TokenText[];
}

export type CompletionEvent =
  | {
      readonly type: 'start';
      readonly promptTokens: number;
      readonly cachedTokens: number;
      /** Soft tokens of images among the prompt tokens. */
      readonly imageTokens: number;
      /** null: there is no store beyond this process, or it held nothing of use. */
      readonly store: StoreUse | null;
      /** Every prompt token when prompt log probabilities or token ids were asked for. */
      readonly prompt: readonly TokenReport[] | null;
    }
  | {
      readonly type: 'delta';
      readonly index: number;
      /** Text set free; may be empty. */
      readonly text: string;
      readonly tokens: readonly TokenReport[];
    }
  | {
      readonly type: 'finish';
      readonly index: number;
      readonly reason: FinishReason;
      /** The stop string or id that ended it, as vLLM's stop_reason; null for end-of-turn. */
      readonly stopReason: string | number | null;
      readonly completionTokens: number;
      readonly timings: Timings;
      /** Counts to be added to those of `start`, which came before they were known. */
      readonly late?: LateCounts;
    };

/** Other servers tell at the end of an answer what its prompt took. */
export interface LateCounts {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly imageTokens: number;
}
