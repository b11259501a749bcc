import type { ModelCard } from '../completer.ts';

/** What validation needs to know beside the request itself. */
export interface RequestContext {
  readonly card: ModelCard;
  /** Other names for it; left out, there are none. */
  readonly models?: AcceptedModels;
  readonly limits: RequestLimits;
  /** Draws a seed, 0..2^32-1, for requests that name none. */
  readonly randomSeed: () => number;
  /** Who was let in; '' where everyone is. */
  readonly tenant: string;
  /** The session that the request's headers name; null where none does. */
  readonly sessionKey: string | null;
}

/** What clients may call the model beside its own name, which answers always bear. */
export interface AcceptedModels {
  readonly aliases: readonly string[];
  /** Any name whatever. */
  readonly acceptsAny: boolean;
}

/** Bounds on what one request may ask for; beyond them it is refused with 400 or 413. */
export interface RequestLimits {
  /** Bytes of a request body. */
  readonly maxBodyBytes: number;
  /** Nested arrays and objects in a body. */
  readonly maxJsonDepth: number;
  readonly maxMessages: number;
  /** Images in one request. */
  readonly maxImages: number;
  /** Prompts in one text completion request. */
  readonly maxPrompts: number;
  /** Prompts times `n`. */
  readonly maxChoices: number;
}

export const DEFAULT_LIMITS: RequestLimits = {
  maxBodyBytes: 32 * 1024 * 1024,
  maxJsonDepth: 64,
  maxMessages: 8192,
  maxImages: 128,
  maxPrompts: 1024,
  maxChoices: 1024,
};
