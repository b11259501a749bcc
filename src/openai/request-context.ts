import { defaultOf } from '../bounds.ts';
import type { ModelCard } from '../completer.ts';
import type { JsonLimits } from '../limits/json-scan.ts';

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
export interface RequestLimits extends JsonLimits {
  /** Bytes of a request body. */
  readonly maxBodyBytes: number;
  readonly maxMessages: number;
  /** Parts of all messages together. */
  readonly maxParts: number;
  /** Images in one request. */
  readonly maxImages: number;
  /** Prompts in one text completion request. */
  readonly maxPrompts: number;
  /** Prompts times `n`. */
  readonly maxChoices: number;
}

export const DEFAULT_LIMITS: RequestLimits = {
  maxBodyBytes: defaultOf('maxBodyBytes'),
  maxTextBytes: defaultOf('maxTextBytes'),
  maxJsonDepth: defaultOf('maxJsonDepth'),
  maxJsonValues: defaultOf('maxJsonValues'),
  maxJsonStrings: defaultOf('maxJsonStrings'),
  maxMessages: defaultOf('maxMessages'),
  maxParts: defaultOf('maxParts'),
  maxImages: defaultOf('maxImages'),
  maxPrompts: defaultOf('maxPrompts'),
  maxChoices: defaultOf('maxChoices'),
};
