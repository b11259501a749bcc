import * as z from 'zod/mini';
import type { CompletionRequest, PromptInput } from '../completer.ts';
import type { ChatMessage } from '../prompt/messages.ts';
import { booleanField, integerField } from './fields.ts';
import { parseMessages } from './messages.ts';
import { checkModel } from './model-field.ts';
import { sessionKeyOf } from '../sessions/session-key.ts';
import { type JsonObject, invalid, parseBody, parseFields } from './parse.ts';
import type { RequestContext } from './request-context.ts';
import { samplingSchema, toSampling, toScope } from './sampling-fields.ts';
import { refuseUnsupported } from './unsupported.ts';

/** A chat request with all defaults filled in. */
export interface ChatCall {
  readonly request: CompletionRequest;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly logprobs: boolean;
}

interface ChatFields {
  readonly messages: readonly unknown[];
  readonly max_completion_tokens?: number | undefined;
  readonly logprobs?: boolean | undefined;
  readonly top_logprobs?: number | undefined;
}

export const chatSchema: z.ZodMiniType<ChatFields> = z.object({
  messages: z.array(z.unknown()).check(z.minLength(1)),
  max_completion_tokens: integerField(0, undefined, 'The newer name of max_tokens; wins over it.'),
  logprobs: booleanField('Report the log probability of every token.'),
  top_logprobs: integerField(0, 20, 'Alternatives to report per token; needs logprobs.'),
});

/** Options of the chat template, shared with `/tokenize`. */
export interface TemplateFields {
  readonly add_generation_prompt?: boolean | undefined;
  readonly continue_final_message?: boolean | undefined;
  readonly strict_template?: boolean | undefined;
}

export const templateSchema: z.ZodMiniType<TemplateFields> = z.object({
  add_generation_prompt: booleanField(
    "Open the model's turn after the last message; default true.",
  ),
  continue_final_message: booleanField('Leave the last assistant message open and continue it.'),
  strict_template: booleanField(
    "Refuse what Gemma's own template refuses (roles that do not alternate) instead of folding it.",
  ),
});

/**
 * Validates the body of `POST /v1/chat/completions`.
 * @throws ServeError invalid_request, unsupported_parameter, model_not_found
 */
export function parseChatRequest(raw: unknown, context: RequestContext): ChatCall {
  const body = parseBody(raw);
  checkModel(body, context.card);
  refuseUnsupported(body);
  const sampling = parseFields(samplingSchema, body);
  const fields = parseFields(chatSchema, body);
  const logprobs = fields.logprobs ?? false;
  if (fields.top_logprobs !== undefined && !logprobs) {
    throw invalid('top_logprobs', 'needs logprobs: true');
  }
  const counts = { logprobs: logprobs ? (fields.top_logprobs ?? 0) : null, promptLogprobs: null };
  const maxTokens = fields.max_completion_tokens ?? sampling.max_tokens ?? null;
  return {
    request: {
      prompt: parseChatPrompt(body, context),
      choiceCount: sampling.n ?? 1,
      scope: toScope(sampling, context.tenant),
      tenant: context.tenant,
      sessionId: sessionKeyOf(context.sessionKey, sampling.prompt_cache_key),
      sampling: toSampling(sampling, maxTokens, counts, context),
      returnTokenIds: sampling.return_token_ids ?? false,
    },
    stream: sampling.stream ?? false,
    includeUsage: sampling.stream_options?.include_usage ?? false,
    logprobs,
  };
}

/**
 * The prompt half of a chat body: messages and how the template treats them.
 * @throws ServeError invalid_request, unsupported_parameter
 */
export function parseChatPrompt(body: JsonObject, context: RequestContext): PromptInput {
  const { messages: raw } = parseFields(chatSchema, body);
  const { maxMessages, maxImages } = context.limits;
  if (raw.length > maxMessages) {
    throw invalid('messages', `must be at most ${maxMessages} items long`);
  }
  const messages = parseMessages(raw, { acceptsImages: context.card.acceptsImages, maxImages });
  const template = parseFields(templateSchema, body);
  const continueFinalMessage = template.continue_final_message ?? false;
  if (continueFinalMessage) checkContinuation(messages, template);
  return {
    type: 'chat',
    messages,
    strict: template.strict_template ?? false,
    addGenerationPrompt: template.add_generation_prompt ?? !continueFinalMessage,
    continueFinalMessage,
  };
}

function checkContinuation(messages: readonly ChatMessage[], template: TemplateFields): void {
  const param = 'continue_final_message';
  if (template.add_generation_prompt === true) {
    throw invalid(param, 'cannot be combined with add_generation_prompt: true');
  }
  if (messages.at(-1)?.role !== 'assistant') {
    throw invalid(param, 'needs an assistant message at the end');
  }
}
