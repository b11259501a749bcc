import * as z from 'zod/mini';
import type { ChatMessage, MessagePart } from '../prompt/messages.ts';
import { dropNulls, invalid, isObject, kindOf, parseFields } from './parse.ts';
import { unsupported } from './unsupported.ts';

/** What a conversation may hold. */
export interface MessageLimits {
  readonly acceptsImages: boolean;
  /** Parts of all messages together. */
  readonly maxParts: number;
  /** Images in all messages together. */
  readonly maxImages: number;
  /** Crops of images without a detail of their own. */
  readonly pansAndScans: boolean;
}

const ROLES: Readonly<Record<string, ChatMessage['role']>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  assistant: 'assistant',
};

const textPart = z.object({ type: z.string(), text: z.string() });
const refusalPart = z.object({ type: z.string(), refusal: z.string() });
/** OpenAI's `original` asks for all there is of a picture, which here is pan and scan. */
const DETAILS = ['auto', 'low', 'high', 'original'] as const;
const detail = z.optional(z.enum(DETAILS));
const imageUrl = z.string().check(z.minLength(1));
const imagePart = z.object({
  type: z.string(),
  image_url: z.union([imageUrl, z.object({ url: imageUrl, detail: z.nullish(detail) })], {
    error: 'must be an object with a url',
  }),
  detail: z.nullish(detail),
});

/** For the OpenAPI document only: messages are parsed one by one, for exact error paths. */
export const messageSchema: z.ZodMiniType = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.union([
    z.string(),
    z.array(
      z.union([
        z.object({ type: z.literal('text'), text: z.string() }),
        z.object({
          type: z.literal('image_url'),
          image_url: z.object({
            url: z.string().check(z.describe('A data: or https: URL.')),
            detail: z.optional(
              z
                .enum(DETAILS)
                .check(
                  z.describe('high and original add crops of wide or tall images (pan and scan).'),
                ),
            ),
          }),
        }),
      ]),
    ),
  ]),
});

/**
 * Reduces OpenAI's messages to roles and parts.
 * @param raw the `messages` array
 * @throws ServeError invalid_request or unsupported_parameter, with the exact path
 */
export function parseMessages(raw: readonly unknown[], limits: MessageLimits): ChatMessage[] {
  let imageCount = 0;
  let partCount = 0;
  return raw.map((item, index) => {
    const path = `messages[${index}]`;
    partCount += isObject(item) && Array.isArray(item['content']) ? item['content'].length : 1;
    if (partCount > limits.maxParts) {
      throw invalid(path, `makes more than ${limits.maxParts} parts of all messages together`);
    }
    const message = parseMessage(item, path, limits);
    for (const part of message.parts) {
      if (part.type !== 'image') continue;
      imageCount++;
      if (imageCount > limits.maxImages) {
        throw invalid(part.param, `is one image too many: a request takes ${limits.maxImages}`);
      }
    }
    return message;
  });
}

function parseMessage(item: unknown, path: string, limits: MessageLimits): ChatMessage {
  if (!isObject(item)) throw invalid(path, `must be an object, not ${kindOf(item)}`);
  const message = dropNulls(item);
  const role = parseRole(message['role'], `${path}.role`);
  for (const name of ['tool_calls', 'function_call', 'audio']) {
    const value = message[name];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    throw unsupported(`${path}.${name}`, 'write calls and results into the text instead');
  }
  const content = message['content'];
  const contentPath = `${path}.content`;
  if (typeof content === 'string') return { role, parts: [{ type: 'text', text: content }] };
  // Clients write it so when an answer was only calls, or empty.
  if (
    content === undefined &&
    role === 'assistant' &&
    ('content' in item || 'tool_calls' in item)
  ) {
    return { role, parts: [{ type: 'text', text: '' }] };
  }
  if (content === undefined) throw invalid(contentPath, 'is required');
  if (!Array.isArray(content)) {
    throw invalid(contentPath, `must be a string or an array of parts, not ${kindOf(content)}`);
  }
  if (content.length === 0) throw invalid(contentPath, 'must not be an empty array');
  const parts = content.map((part: unknown, index) =>
    parsePart(part, `${contentPath}[${index}]`, role, limits),
  );
  return { role, parts };
}

function parseRole(role: unknown, path: string): ChatMessage['role'] {
  if (role === undefined) throw invalid(path, 'is required');
  if (typeof role !== 'string') throw invalid(path, `must be a string, not ${kindOf(role)}`);
  if (role === 'tool' || role === 'function') {
    throw unsupported(path, `write ${role} results into a user message instead`);
  }
  const known = Object.hasOwn(ROLES, role) ? ROLES[role] : undefined;
  if (known === undefined) {
    throw invalid(path, `must be one of ${Object.keys(ROLES).join(', ')}`);
  }
  return known;
}

function parsePart(
  item: unknown,
  path: string,
  role: ChatMessage['role'],
  limits: MessageLimits,
): MessagePart {
  if (!isObject(item)) throw invalid(path, `must be an object, not ${kindOf(item)}`);
  const type = item['type'];
  switch (type) {
    case 'text':
    case 'input_text':
    case 'output_text':
      return { type: 'text', text: parseFields(textPart, item, path).text };
    case 'refusal':
      return { type: 'text', text: parseFields(refusalPart, item, path).refusal };
    case 'image_url':
    case 'input_image':
      return parseImage(item, path, role, limits);
    case 'input_audio':
    case 'file':
    case 'input_file':
    case 'video_url':
      throw unsupported(`${path}.type`, `${type} parts cannot be read, send text or image_url`);
    case undefined:
      throw invalid(`${path}.type`, 'is required');
    default:
      throw invalid(`${path}.type`, 'must be one of text, image_url');
  }
}

function parseImage(
  item: unknown,
  path: string,
  role: ChatMessage['role'],
  limits: MessageLimits,
): MessagePart {
  if (!limits.acceptsImages) throw unsupported(path, 'this model reads text only');
  if (role !== 'user') throw invalid(path, 'is an image outside a user message: move it to one');
  const fields = parseFields(imagePart, item, path);
  const image = fields.image_url;
  const url = typeof image === 'string' ? image : image.url;
  const wanted = (typeof image === 'string' ? undefined : image.detail) ?? fields.detail;
  return {
    type: 'image',
    source: { type: 'url', url },
    panAndScan:
      wanted === undefined || wanted === null
        ? limits.pansAndScans
        : wanted === 'high' || wanted === 'original',
    param: `${path}.image_url${typeof image === 'string' ? '' : '.url'}`,
  };
}
