import { readFile } from 'node:fs/promises';
import type { Completer, CompletionRequest } from '../../src/completer.ts';
import type { ChatMessage, MessagePart } from '../../src/prompt/messages.ts';
import { createEngine, type EngineOptions } from './create-engine.ts';

/** A message as scripts write it. */
export interface PipelineMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string | readonly PipelinePart[];
}

export type PipelinePart =
  | { readonly type: 'text'; readonly text: string }
  /** A file's path, an https or data URL, or the bytes of a PNG, JPEG, WebP or GIF. */
  | { readonly type: 'image'; readonly image: string | URL | Uint8Array };

export interface PipelineOptions {
  /** Tokens to generate at most; by default what is left of the context, at most 8192. */
  readonly maxTokens?: number;
  /** 0 always picks the most likely token; by default the checkpoint's own setting. */
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  /** 0..2^32-1; the same seed gives the same text. Random when absent. */
  readonly seed?: number;
  readonly stop?: readonly string[];
  /** Also show the model crops of wide and tall images. */
  readonly panAndScan?: boolean;
  /** Called with each piece of text as it comes. */
  readonly onText?: (text: string) => void;
  readonly signal?: AbortSignal;
}

/** Messages in, text out. Call `close` when done: it frees the model. */
export interface Pipeline {
  (messages: string | readonly PipelineMessage[], options?: PipelineOptions): Promise<string>;
  close(): Promise<void>;
}

/**
 * Loads a model for a script: text and images in, text out.
 * @throws what `createEngine` throws
 * @example
 * const gemma = await createPipeline({ model: 'demo' });
 * const text = await gemma([
 *   { role: 'user', content: [{ type: 'image', image: 'cat.png' }, { type: 'text', text: 'Describe this image.' }] },
 * ]);
 * await gemma.close();
 */
export async function createPipeline(options: EngineOptions = {}): Promise<Pipeline> {
  const completer = await createEngine(options);
  const run: Omit<Pipeline, 'close'> &
    ((...input: Parameters<Pipeline>) => Promise<string>) = async (messages, settings = {}) => {
    const list =
      typeof messages === 'string' ? [{ role: 'user' as const, content: messages }] : messages;
    const request = await toRequest(list, settings, completer);
    let text = '';
    for await (const event of completer.complete(request, settings.signal)) {
      if (event.type !== 'delta' || event.text === '') continue;
      text += event.text;
      settings.onText?.(event.text);
    }
    return text;
  };
  return Object.assign(run, { close: () => completer.close() });
}

async function toRequest(
  messages: readonly PipelineMessage[],
  options: PipelineOptions,
  completer: Completer,
): Promise<CompletionRequest> {
  const { defaults } = completer.model;
  const chat = await Promise.all(
    messages.map((message, index) => toMessage(message, index, options.panAndScan ?? false)),
  );
  return {
    prompt: {
      type: 'chat',
      messages: chat,
      strict: false,
      addGenerationPrompt: true,
      continueFinalMessage: false,
    },
    choiceCount: 1,
    scope: '',
    tenant: '',
    sessionId: null,
    returnTokenIds: false,
    sampling: {
      maxTokens: options.maxTokens ?? null,
      temperature: options.temperature ?? defaults.temperature,
      topK: options.topK ?? defaults.topK,
      topP: options.topP ?? defaults.topP,
      minP: defaults.minP,
      repetitionPenalty: defaults.repetitionPenalty,
      presencePenalty: 0,
      frequencyPenalty: 0,
      logitBias: new Map(),
      seed: options.seed ?? (crypto.getRandomValues(new Uint32Array(1))[0] as number),
      stop: options.stop ?? [],
      stopIds: [],
      allowedIds: null,
      minTokens: 0,
      ignoreEos: false,
      includesStop: false,
      logprobs: null,
      promptLogprobs: null,
    },
  };
}

async function toMessage(
  message: PipelineMessage,
  index: number,
  panAndScan: boolean,
): Promise<ChatMessage> {
  if (typeof message.content === 'string') {
    return { role: message.role, parts: [{ type: 'text', text: message.content }] };
  }
  const parts = await Promise.all(
    message.content.map(async (part, at): Promise<MessagePart> => {
      if (part.type === 'text') return { type: 'text', text: part.text };
      const param = `messages[${index}].content[${at}].image`;
      const source = await toSource(part.image);
      return { type: 'image', source, panAndScan, param };
    }),
  );
  return { role: message.role, parts };
}

async function toSource(
  image: string | URL | Uint8Array,
): Promise<Extract<MessagePart, { type: 'image' }>['source']> {
  if (image instanceof Uint8Array) return { type: 'bytes', bytes: image };
  if (typeof image === 'string' && /^(https?|data):/i.test(image))
    return { type: 'url', url: image };
  if (image instanceof URL && image.protocol !== 'file:') return { type: 'url', url: image.href };
  return { type: 'bytes', bytes: new Uint8Array(await readFile(image)) };
}
