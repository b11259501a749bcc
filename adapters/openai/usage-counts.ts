import type { JsonObject } from '../../src/openai/parse.ts';
import { isObject } from '../../src/openai/parse.ts';
import type { Counts } from './call.ts';
import { countOf, objectOf } from './json.ts';

/**
 * Counts in OpenAI's `usage`. vLLM tells cached tokens only with `--enable-prompt-tokens-details`;
 * llama.cpp tells them in `timings.cache_n` (its `tokens_cached` is all that the slot then holds).
 */
export function usageCounts(frame: JsonObject): Counts | undefined {
  const usage = frame['usage'];
  if (!isObject(usage)) return undefined;
  const details = objectOf(usage['prompt_tokens_details']);
  return {
    promptTokens: countOf(usage['prompt_tokens']),
    completionTokens: countOf(usage['completion_tokens']),
    cachedTokens:
      countOf(details['cached_tokens']) ?? countOf(objectOf(frame['timings'])['cache_n']),
    imageTokens: countOf(details['image_tokens']),
  };
}
