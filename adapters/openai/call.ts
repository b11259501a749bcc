import type { PromptInput, TokenReport } from '../../src/completer.ts';
import type { CompletionRequest } from '../../src/completer.ts';
import type { FinishReason } from '../../src/engine/engine.ts';
import type { JsonObject } from '../../src/openai/parse.ts';

/**
 * The servers whose ways are known. `openai` is any other one with OpenAI's API, `gemlet` another one
 * of us, which is asked in our own words and answers the same as if asked directly.
 */
export type UpstreamKind = 'vllm' | 'sglang' | 'llama.cpp' | 'tgi' | 'openai' | 'gemlet';

/** A prompt as it is sent: our ids, a text that the server tokenizes, or messages in its template. */
export type UpstreamPrompt =
  | { readonly type: 'ids'; readonly ids: readonly number[] }
  | Extract<PromptInput, { readonly type: 'text' | 'chat' }>;

/** How one choice is asked for. */
export interface UpstreamCall {
  readonly kind: UpstreamKind;
  /** What the server calls the model. */
  readonly model: string;
  /** Longest prompt plus completion there. */
  readonly contextTokens: number;
  readonly prompt: UpstreamPrompt;
  readonly sampling: Omit<CompletionRequest['sampling'], 'maxTokens'> & {
    /** null leaves it to the server. */
    readonly maxTokens: number | null;
  };
  /** The prompt's ids are to be reported. */
  readonly reportsPrompt: boolean;
  readonly reportsIds: boolean;
  /** Names what cached keys and values are shared with; null where everyone may. */
  readonly salt: string | null;
  /** Names the conversation in the body; null where it has no name, or the server would not know it. */
  readonly session: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** What one frame of an answer says. */
export interface Frame {
  readonly text: string;
  readonly tokens: readonly TokenReport[];
  /** Reports on the prompt, in one frame at most. */
  readonly prompt?: readonly TokenReport[] | null;
  readonly counts?: Counts;
  readonly end?: { readonly reason: FinishReason; readonly stop: unknown };
}

/** Counts as far as a frame tells them; later ones are newer. */
export interface Counts {
  readonly promptTokens?: number | null;
  readonly cachedTokens?: number | null;
  readonly imageTokens?: number | null;
  readonly completionTokens?: number | null;
}

/** One way to ask. */
export interface Dialect {
  readonly path: string;
  body(call: UpstreamCall): JsonObject;
  /** Reads the frames of one answer in order. */
  reader(call: UpstreamCall): (frame: JsonObject) => Frame;
}

/** Where the server leaves out an id: nothing that shows ids is then offered. */
export const UNKNOWN_ID = -1;
