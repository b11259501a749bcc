import type { JsonObject } from '../../src/openai/parse.ts';
import type { FinishReason } from '../../src/engine/engine.ts';
import { lost } from './fault.ts';
import type { UpstreamCall } from './call.ts';

/**
 * Sampling in the names of OpenAI and of vLLM's additions, which SGLang and gemlet share. What is off is
 * left out for servers that may not know it, but sent where their own default may be another.
 */
export function samplingFields(call: UpstreamCall): JsonObject {
  const { kind, sampling } = call;
  const { temperature, topP, topK, minP, logitBias, stop, stopIds } = sampling;
  const common = {
    temperature,
    // TGI refuses what is off.
    ...(kind === 'tgi' && topP >= 1 ? {} : { top_p: topP }),
    seed: sampling.seed,
    ...(stop.length > 0 ? { stop } : {}),
    ...(sampling.frequencyPenalty === 0 ? {} : { frequency_penalty: sampling.frequencyPenalty }),
    ...(sampling.presencePenalty === 0 ? {} : { presence_penalty: sampling.presencePenalty }),
    ...(logitBias.size === 0 ? {} : { logit_bias: Object.fromEntries(logitBias) }),
  };
  if (kind === 'openai') return common;
  if (kind === 'tgi') {
    const { repetitionPenalty } = sampling;
    return repetitionPenalty === 1 ? common : { ...common, repetition_penalty: repetitionPenalty };
  }
  const { repetitionPenalty, ignoreEos } = sampling;
  const mine = { ...common, min_p: minP, ignore_eos: ignoreEos };
  if (kind === 'llama.cpp') return { ...mine, top_k: topK, ...llamaFields(call) };
  return {
    ...mine,
    // -1 is off everywhere; 0 is an error on SGLang.
    top_k: topK === 0 ? -1 : topK,
    repetition_penalty: repetitionPenalty,
    ...(stopIds.length > 0 ? { stop_token_ids: stopIds } : {}),
    ...(sampling.allowedIds === null ? {} : { allowed_token_ids: sampling.allowedIds }),
  };
}

/**
 * llama.cpp looks back 64 tokens unless told to take all, which only a number says: it keeps a list of
 * that length. It samples in another order unless told: temperature last.
 */
function llamaFields({ sampling, contextTokens }: UpstreamCall): JsonObject {
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = sampling;
  const isOff = repetitionPenalty === 1 && presencePenalty === 0 && frequencyPenalty === 0;
  return {
    repeat_penalty: repetitionPenalty,
    repeat_last_n: isOff ? 0 : contextTokens,
    samplers: ['penalties', 'temperature', 'top_k', 'top_p', 'min_p'],
  };
}

/**
 * Tokens to ask for. Only gemlet takes 0; of others one is asked for, which the reader drops.
 * @returns nothing where the server decides
 */
export function tokenLimit(
  { kind, sampling }: UpstreamCall,
  name: 'max_tokens' | 'max_new_tokens' | 'n_predict',
): JsonObject {
  const { maxTokens } = sampling;
  if (maxTokens === null) return {};
  return { [name]: kind === 'gemlet' ? maxTokens : Math.max(1, maxTokens) };
}

/** @throws ServeError upstream_unavailable when the server gave up */
export function finishReason(said: string): FinishReason {
  if (said === 'abort' || said === 'error') throw lost('gave the answer up');
  return said === 'length' ? 'length' : 'stop';
}
