import * as z from 'zod/mini';
import type { TokenizeRequest } from '../completer.ts';
import { parseChatPrompt } from './chat-request.ts';
import { booleanField } from './fields.ts';
import { checkModel } from './model-field.ts';
import { invalid, parseBody, parseFields } from './parse.ts';
import type { RequestContext } from './request-context.ts';
import { checkIds } from './sampling-fields.ts';

interface TokenizeFields {
  readonly prompt?: string | undefined;
  readonly add_special_tokens?: boolean | undefined;
  readonly content?: string | undefined;
  readonly add_special?: boolean | undefined;
}

export const tokenizeSchema: z.ZodMiniType<TokenizeFields> = z.object({
  prompt: z.optional(z.string().check(z.describe('Text to tokenize; or send messages.'))),
  add_special_tokens: booleanField('Put <bos> before the text; default true.'),
  content: z.optional(z.string().check(z.describe("llama.cpp's name for prompt."))),
  add_special: booleanField('Put <bos> before content; default false, as in llama.cpp.'),
});

export const detokenizeSchema: z.ZodMiniType<{ readonly tokens: readonly unknown[] }> = z.object({
  tokens: z.array(z.unknown()),
});

/**
 * Validates the body of `POST /tokenize`: a prompt, or messages as in chat.
 * @throws ServeError invalid_request, unsupported_parameter, model_not_found
 */
export function parseTokenizeRequest(raw: unknown, context: RequestContext): TokenizeRequest {
  const body = parseBody(raw);
  checkModel(body, context);
  const fields = parseFields(tokenizeSchema, body);
  if (fields.content !== undefined) {
    const other = ['prompt', 'messages'].find((name) => body[name] !== undefined);
    if (other !== undefined) throw invalid(other, 'cannot be combined with content');
    return { type: 'text', text: fields.content, addBos: fields.add_special ?? false };
  }
  if (fields.prompt === undefined) {
    if (body['messages'] === undefined) throw invalid('prompt', 'or messages is required');
    return parseChatPrompt(body, context);
  }
  if (body['messages'] !== undefined) {
    throw invalid('messages', 'cannot be combined with prompt');
  }
  return { type: 'text', text: fields.prompt, addBos: fields.add_special_tokens ?? true };
}

/**
 * Validates the body of `POST /detokenize`.
 * @returns ids inside the vocabulary
 * @throws ServeError invalid_request, model_not_found
 */
export function parseDetokenizeRequest(raw: unknown, context: RequestContext): readonly number[] {
  const body = parseBody(raw);
  checkModel(body, context);
  const { contextTokens, vocabSize } = context.card;
  const { tokens } = parseFields(detokenizeSchema, body);
  if (tokens.length > contextTokens) {
    throw invalid('tokens', `must be at most ${contextTokens} ids, which is the model's context`);
  }
  return checkIds(tokens, vocabSize, 'tokens');
}
