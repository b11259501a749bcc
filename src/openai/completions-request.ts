import * as z from 'zod/mini';
import type { CompletionRequest, PromptInput } from '../completer.ts';
import { sessionKeyOf } from '../sessions/session-key.ts';
import { booleanField, integerField } from './fields.ts';
import { namedAsSent, readKnownFields } from './known-fields/known-fields.ts';
import { checkModel } from './model-field.ts';
import { type JsonObject, invalid, kindOf, parseBody, parseFields } from './parse.ts';
import type { RequestContext } from './request-context.ts';
import { checkIds, limitOf, samplingSchema, toSampling, toScope } from './sampling-fields.ts';

/** A text completion request: one completion request per prompt, which run side by side. */
export interface CompletionsCall {
  readonly requests: readonly CompletionRequest[];
  /** Completions per prompt; choice `c` of prompt `p` has the index `p * n + c`. */
  readonly choiceCount: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  /** Put the prompt before the completion. */
  readonly echo: boolean;
  readonly logprobs: boolean;
  /** Write tokens in log probabilities as `token_id:7`. */
  readonly tokensAsIds: boolean;
}

interface CompletionsFields {
  readonly prompt?: unknown;
  readonly echo?: boolean | undefined;
  readonly logprobs?: number | undefined;
  readonly add_special_tokens?: boolean | undefined;
}

/** OpenAI's default for this route. */
const DEFAULT_MAX_TOKENS = 16;

export const completionsSchema: z.ZodMiniType<CompletionsFields> = z.object({
  prompt: z.unknown(),
  echo: booleanField('Put the prompt before the completion.'),
  logprobs: integerField(0, 20, 'Alternatives to report per token; with echo also of the prompt.'),
  add_special_tokens: booleanField('Put <bos> before a text prompt, as Gemma needs; default true.'),
});

/** For the OpenAPI document: prompts are parsed by hand, for speed and exact error paths. */
export const promptSchema: z.ZodMiniType = z.union([
  z.string(),
  z.array(z.string()),
  z.array(z.int()),
  z.array(z.array(z.int())),
]);

/**
 * Validates the body of `POST /v1/completions`.
 * @throws ServeError invalid_request, unsupported_parameter, model_not_found
 */
export function parseCompletionsRequest(raw: unknown, context: RequestContext): CompletionsCall {
  const sent = parseBody(raw);
  checkModel(sent, context);
  const known = readKnownFields(sent, 'completions', context.card.id);
  return namedAsSent(known, () => completionsCall(known.body, context));
}

function completionsCall(body: JsonObject, context: RequestContext): CompletionsCall {
  const sampling = parseFields(samplingSchema, body);
  const fields = parseFields(completionsSchema, body);
  const prompts = parsePrompts(fields.prompt, fields.add_special_tokens ?? true, context);
  const choiceCount = sampling.n ?? 1;
  if (prompts.length * choiceCount > context.limits.maxChoices) {
    const { maxChoices } = context.limits;
    throw invalid('n', `times the number of prompts must be at most ${maxChoices}`);
  }
  const echo = fields.echo ?? false;
  const logprobs = fields.logprobs ?? null;
  const counts = { logprobs, promptLogprobs: echo ? logprobs : null };
  const maxTokens = limitOf(sampling.max_tokens ?? DEFAULT_MAX_TOKENS, context.card);
  const shared = toSampling(sampling, maxTokens, counts, context);
  const scope = toScope(sampling, context.tenant);
  const sessionId = sessionKeyOf(context.sessionKey, sampling.prompt_cache_key);
  const returnTokenIds = sampling.return_token_ids ?? false;
  return {
    requests: prompts.map((prompt, index) => ({
      prompt,
      choiceCount,
      scope,
      tenant: context.tenant,
      sessionId,
      // Without a seed of its own every prompt draws another one: equal prompts may differ.
      sampling:
        index === 0 || sampling.seed !== undefined
          ? shared
          : { ...shared, seed: context.randomSeed() },
      returnTokenIds,
    })),
    choiceCount,
    stream: sampling.stream ?? false,
    includeUsage: sampling.stream_options?.include_usage ?? false,
    echo,
    logprobs: logprobs !== null,
    tokensAsIds: sampling.return_tokens_as_token_ids ?? false,
  };
}

function parsePrompts(
  prompt: unknown,
  addBos: boolean,
  context: RequestContext,
): readonly PromptInput[] {
  if (prompt === undefined) throw invalid('prompt', 'is required');
  if (typeof prompt === 'string') return [{ type: 'text', text: prompt, addBos }];
  if (!Array.isArray(prompt)) {
    const kind = kindOf(prompt);
    throw invalid('prompt', `must be a string, token ids, or an array of these, not ${kind}`);
  }
  if (prompt.length === 0) throw invalid('prompt', 'must not be an empty array');
  if (typeof prompt[0] === 'number') return [parseIds(prompt, 'prompt', context)];
  const { maxPrompts } = context.limits;
  if (prompt.length > maxPrompts)
    throw invalid('prompt', `must hold at most ${maxPrompts} prompts`);
  return prompt.map((item: unknown, index): PromptInput => {
    const path = `prompt[${index}]`;
    if (typeof item === 'string') return { type: 'text', text: item, addBos };
    if (Array.isArray(item)) return parseIds(item, path, context);
    throw invalid(path, `must be a string or an array of token ids, not ${kindOf(item)}`);
  });
}

function parseIds(ids: readonly unknown[], path: string, context: RequestContext): PromptInput {
  if (ids.length === 0) throw invalid(path, 'must not be an empty array');
  return { type: 'tokens', ids: checkIds(ids, context.card.vocabSize, path) };
}
