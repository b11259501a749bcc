import type { CompletionEvent } from '../completer.ts';
import type { StoreUse } from '../engine/engine.ts';

/** Counts of one request, added up over its prompts and choices while events pass. */
export interface Usage {
  promptTokens: number;
  cachedTokens: number;
  imageTokens: number;
  /** Of several prompts those that were restored, where any was. */
  store: StoreUse | null;
  completionTokens: number;
  /** Longest of the choices, which run side by side; milliseconds. */
  queueMs: number;
  prefillMs: number;
  decodeMs: number;
}

export function createUsage(): Usage {
  return {
    promptTokens: 0,
    cachedTokens: 0,
    imageTokens: 0,
    store: null,
    completionTokens: 0,
    queueMs: 0,
    prefillMs: 0,
    decodeMs: 0,
  };
}

/** Adds what `event` tells. A prompt counts once, however many choices it has. */
export function addUsage(usage: Usage, event: CompletionEvent): void {
  if (event.type === 'start') {
    usage.promptTokens += event.promptTokens;
    usage.cachedTokens += event.cachedTokens;
    usage.imageTokens += event.imageTokens;
    usage.store = addStore(usage.store, event.store);
  } else if (event.type === 'finish') {
    usage.completionTokens += event.completionTokens;
    usage.promptTokens += event.late?.promptTokens ?? 0;
    usage.cachedTokens += event.late?.cachedTokens ?? 0;
    usage.imageTokens += event.late?.imageTokens ?? 0;
    usage.queueMs = Math.max(usage.queueMs, event.timings.queueMs);
    usage.prefillMs = Math.max(usage.prefillMs, event.timings.prefillMs);
    usage.decodeMs = Math.max(usage.decodeMs, event.timings.decodeMs);
  }
}

/** OpenAI's `usage` object. */
export interface UsageBody {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
  readonly prompt_tokens_details: {
    readonly cached_tokens: number;
    readonly image_tokens: number;
    readonly audio_tokens: number;
    /** Beyond OpenAI: what was done with tokens that only the store held; absent where there were none. */
    readonly kv_store?: StoreUse;
  };
  readonly completion_tokens_details: {
    readonly reasoning_tokens: number;
    readonly audio_tokens: number;
    readonly accepted_prediction_tokens: number;
    readonly rejected_prediction_tokens: number;
  };
}

const COUNT = { type: 'integer', minimum: 0 } as const;

/** The parts of {@link UsageBody} that say something, as a JSON schema. */
export const USAGE_SCHEMA: Readonly<Record<string, unknown>> = {
  type: 'object',
  required: ['prompt_tokens', 'completion_tokens', 'total_tokens', 'prompt_tokens_details'],
  properties: {
    prompt_tokens: COUNT,
    completion_tokens: COUNT,
    total_tokens: COUNT,
    prompt_tokens_details: {
      type: 'object',
      required: ['cached_tokens', 'image_tokens'],
      properties: {
        cached_tokens: { ...COUNT, description: 'Prompt tokens that were not computed.' },
        image_tokens: { ...COUNT, description: 'Prompt tokens that images took.' },
        kv_store: {
          type: 'object',
          description: 'Present when a store held prompt tokens that the process did not.',
          required: ['choice', 'tokens'],
          properties: {
            choice: {
              enum: ['restore', 'recompute'],
              description: 'What measured rates said is faster, and was done.',
            },
            tokens: COUNT,
          },
        },
      },
    },
  },
};

export function usageBody(usage: Usage): UsageBody {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: {
      cached_tokens: usage.cachedTokens,
      image_tokens: usage.imageTokens,
      audio_tokens: 0,
      ...(usage.store === null ? {} : { kv_store: usage.store }),
    },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

function addStore(sum: StoreUse | null, more: StoreUse | null): StoreUse | null {
  if (sum === null || more === null) return sum ?? more;
  if (sum.choice === more.choice) return { ...sum, tokens: sum.tokens + more.tokens };
  return sum.choice === 'restore' ? sum : more;
}
