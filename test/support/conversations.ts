import type { ChatMessage, ImagePart, MessagePart } from '../../src/prompt/messages.ts';

/** A message as Gemma's own template takes it. */
export interface TemplateMessage {
  readonly role: string;
  readonly content: unknown;
}

export function imagePart(param = 'image', panAndScan = false): ImagePart {
  return { type: 'image', source: { type: 'bytes', bytes: new Uint8Array(0) }, panAndScan, param };
}

export function say(role: ChatMessage['role'], ...parts: (string | MessagePart)[]): ChatMessage {
  return {
    role,
    parts: parts.map((part) => (typeof part === 'string' ? { type: 'text', text: part } : part)),
  };
}

/**
 * The same conversation as chat messages: part types that the template skips are left out, as
 * parsing never lets them through. null when a role or a content has no counterpart.
 */
export function toChatMessages(messages: readonly TemplateMessage[]): ChatMessage[] | null {
  const converted: ChatMessage[] = [];
  for (const { role, content } of messages) {
    const known = role === 'model' ? 'assistant' : role;
    if (known !== 'system' && known !== 'user' && known !== 'assistant') return null;
    if (typeof content === 'string') {
      converted.push(say(known, content));
    } else if (Array.isArray(content)) {
      const parts = (content as Record<string, unknown>[]).flatMap((part): MessagePart[] => {
        if (part['type'] === 'text') return [{ type: 'text', text: String(part['text']) }];
        return part['type'] === 'image' ? [imagePart()] : [];
      });
      converted.push({ role: known, parts });
    } else {
      return null;
    }
  }
  return converted;
}

/** The same conversation as the template takes it. */
export function toTemplateMessages(messages: readonly ChatMessage[]): TemplateMessage[] {
  return messages.map(({ role, parts }) => ({
    role,
    content: parts.map((part) => (part.type === 'text' ? part : { type: 'image' })),
  }));
}
