import * as z from 'zod/mini';
import type { CompletionRequest, PromptInput } from '../completer.ts';
import type { ChatMessage } from '../prompt/messages.ts';
import { booleanField, integerField, limitField } from './fields.ts';
import { namedAsSent, readKnownFields } from './known-fields/known-fields.ts';
import { parseMessages } from './messages.ts';
import { checkModel } from './model-field.ts';
import { sessionKeyOf } from '../sessions/session-key.ts';
import { type JsonObject, invalid, parseBody, parseFields } from './parse.ts';
import type { RequestContext } from './request-context.ts';
import { limitOf, samplingSchema, toSampling, toScope } from './sampling-fields.ts';

/** A chat request with all defaults filled in. */
export interface ChatCall {
  readonly request: CompletionRequest;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly logprobs: boolean;
  /** Write tokens in log probabilities as `token_id:7`. */
  readonly tokensAsIds: boolean;
}

interface ChatFields {
  readonly messages: readonly unknown[];
  readonly max_completion_tokens?: number | undefined;
  readonly logprobs?: boolean | undefined;
  readonly top_logprobs?: number | undefined;
  readonly mm_processor_kwargs?: { readonly do_pan_and_scan?: boolean | undefined } | undefined;
}

export const chatSchema: z.ZodMiniType<ChatFields> = z.object({
  messages: z.array(z.unknown()).check(z.minLength(1)),
  max_completion_tokens: limitField('The newer name of max_tokens; wins over it.'),
  logprobs: booleanField('Report the log probability of every token.'),
  top_logprobs: integerField(0, 20, 'Alternatives to report per token; needs logprobs.'),
  mm_processor_kwargs: z.optional(
    z.strictObject(
      {
        do_pan_and_scan: booleanField(
          'Crops of wide and tall images for every image without a detail of its own.',
        ),
      },
      { error: 'may hold do_pan_and_scan only' },
    ),
  ),
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
  const sent = parseBody(raw);
  checkModel(sent, context);
  const known = readKnownFields(sent, 'chat', context.card.id);
  return namedAsSent(known, () => chatCall(known.body, context));
}

function chatCall(body: JsonObject, context: RequestContext): ChatCall {
  const sampling = parseFields(samplingSchema, body);
  const fields = parseFields(chatSchema, body);
  const logprobs = fields.logprobs ?? false;
  if (fields.top_logprobs !== undefined && !logprobs) {
    throw invalid('top_logprobs', 'needs logprobs: true');
  }
  const counts = { logprobs: logprobs ? (fields.top_logprobs ?? 0) : null, promptLogprobs: null };
  const maxTokens = limitOf(fields.max_completion_tokens ?? sampling.max_tokens, context.card);
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
    tokensAsIds: sampling.return_tokens_as_token_ids ?? false,
  };
}

/**
 * The prompt half of a chat body: messages and how the template treats them.
 * @throws ServeError invalid_request, unsupported_parameter
 */
export function parseChatPrompt(body: JsonObject, context: RequestContext): PromptInput {
  const { messages: raw, mm_processor_kwargs } = parseFields(chatSchema, body);
  const { maxMessages, maxParts, maxImages } = context.limits;
  if (raw.length > maxMessages) {
    throw invalid('messages', `must be at most ${maxMessages} items long`);
  }
  const messages = parseMessages(raw, {
    acceptsImages: context.card.acceptsImages,
    maxParts,
    maxImages,
    pansAndScans: mm_processor_kwargs?.do_pan_and_scan ?? false,
  });
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
