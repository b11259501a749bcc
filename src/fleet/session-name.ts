import type { PreparedPrompt } from '../engine/engine.ts';
import { contentOf } from '../engine/kv/content.ts';
import { keyedName } from './signing.ts';

/**
 * How a conversation is called outside this process: a keyed digest, so that neither its name nor its
 * tenant leaves. Equal for every gateway with the same key.
 * @param key the fleet's newest key
 */
export function sessionName(key: string, tenant: string, id: string): Promise<string> {
  return keyedName(key, `session ${tenant.length} ${tenant} ${id}`);
}

/**
 * The name of a conversation that has none, by how it begins: up to the first answer in it, so that it
 * stays the same from the second turn on. Of a first turn it is what the second will be called.
 */
export function derivedName(
  key: string,
  prompt: PreparedPrompt,
  tokensPerImage: number,
): Promise<string> {
  const end = prompt.assistantSpans[0]?.start ?? prompt.tokens.length;
  const words = contentOf(prompt, tokensPerImage).subarray(0, end);
  return keyedName(key, `start ${prompt.scope.length} ${prompt.scope} ${words.join(',')}`);
}

/** Whether it has turns before this one: what else looks alike need not belong together. */
export function isLaterTurn({ assistantSpans }: PreparedPrompt): boolean {
  return assistantSpans.length > 0;
}
