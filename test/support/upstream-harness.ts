import {
  createUpstreamCompleter,
  type UpstreamCompleterOptions,
} from '../../adapters/openai/completer.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type {
  Completer,
  CompletionEvent,
  CompletionRequest,
  PromptInput,
} from '../../src/completer.ts';
import { type Clock, systemClock } from '../../src/lib/clock.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import { createByteTokenizer } from './byte-tokenizer.ts';
import { request } from './completions.ts';
import { type FakeUpstream, type FakeUpstreamOptions, startFakeUpstream } from './fake-upstream.ts';

const tokenizer = createByteTokenizer();
const preparer = createPreparer({
  tokenizer,
  model: fakeModelConfig({ maxPositions: 512 }),
  contextTokens: 512,
  loadImage: () => Promise.reject(new Error('no image is prepared here')),
});

/** Options with which vLLM, SGLang and llama.cpp get our ids. */
export const BY_IDS: Required<Pick<UpstreamCompleterOptions, 'tokenizer' | 'prepare'>> = {
  tokenizer,
  prepare: (input, signal) => preparer.prepare(input, signal),
};

export const CHAT: Extract<PromptInput, { type: 'chat' }> = {
  type: 'chat',
  messages: [{ role: 'user', parts: [{ type: 'text', text: 'Hi' }] }],
  strict: false,
  addGenerationPrompt: true,
  continueFinalMessage: false,
};

export interface UpstreamHarness {
  readonly start: (
    fake: FakeUpstreamOptions,
    options?: Partial<UpstreamCompleterOptions>,
  ) => Promise<{ readonly upstream: FakeUpstream; readonly completer: Completer }>;
  /** Closes all that was started. */
  close(): Promise<void>;
}

export function createUpstreamHarness(): UpstreamHarness {
  const open: { close(): Promise<void> }[] = [];
  return {
    async start(fake, options = {}) {
      const upstream = await startFakeUpstream(fake);
      const completer = createUpstreamCompleter({
        baseUrl: `${upstream.url}/v1`,
        clock: systemClock,
        ...(fake.kind === 'openai' ? { card: { contextTokens: 512 } } : {}),
        ...options,
      });
      open.push(completer, upstream);
      return { upstream, completer };
    },
    async close() {
      for (const each of open.splice(0)) await each.close();
    },
  };
}

const LONGEST_PAUSE_MS = 5_000;

/** A clock on which pauses between attempts pass at once, and watchdogs never bark. */
export function createPauseClock(): Clock {
  let nowMs = 1_000_000;
  return {
    now: () => nowMs,
    async sleep(ms, signal) {
      signal?.throwIfAborted();
      if (ms <= LONGEST_PAUSE_MS) nowMs += ms;
      else
        await new Promise((_, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        });
    },
  };
}

/** A request that every kind of server can do, but for what is given. */
export function plainRequest(
  sampling: Partial<CompletionRequest['sampling']> = {},
  rest: Partial<CompletionRequest> = {},
): CompletionRequest {
  return request({ ignoreEos: false, topK: 0, maxTokens: 30, ...sampling }, rest);
}

export function finishOf(
  events: readonly CompletionEvent[],
  index = 0,
): Extract<CompletionEvent, { type: 'finish' }> | undefined {
  return events.find((event) => event.type === 'finish' && event.index === index) as
    | Extract<CompletionEvent, { type: 'finish' }>
    | undefined;
}
