import type { CompletionEvent } from '../completer.ts';

/** Counts of one request, added up over its prompts and choices while events pass. */
export interface Usage {
  promptTokens: number;
  cachedTokens: number;
  imageTokens: number;
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
  } else if (event.type === 'finish') {
    usage.completionTokens += event.completionTokens;
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
  };
  readonly completion_tokens_details: {
    readonly reasoning_tokens: number;
    readonly audio_tokens: number;
    readonly accepted_prediction_tokens: number;
    readonly rejected_prediction_tokens: number;
  };
}

export function usageBody(usage: Usage): UsageBody {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: {
      cached_tokens: usage.cachedTokens,
      image_tokens: usage.imageTokens,
      audio_tokens: 0,
    },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}
