import type {
  Completer,
  CompletionEvent,
  CompletionRequest,
  ModelCard,
  PromptInput,
  TokenReport,
  TokenText,
} from '../../src/completer.ts';
import type { StoreUse } from '../../src/engine/engine.ts';

/**
 * A small completer over bytes: ids 0..255 are bytes, 256 is `<bos>`, 257 ends the turn. It says
 * what it is told to say, and honours limits, stop strings, abort and log probabilities.
 */
export interface StubCompleter extends Completer {
  state: Completer['state'];
  /** Every request so far, oldest first. */
  readonly requests: CompletionRequest[];
  /** Completions that run now. */
  readonly activeCount: number;
  /** Completions that ran at once, at most. */
  readonly peakCount: number;
  /** Completions that ended by abort or by the reader leaving. */
  readonly abortedCount: number;
  /** Resolves when the next completion is aborted or left. */
  nextAbort(): Promise<void>;
}

export interface StubOptions {
  readonly card?: Partial<ModelCard>;
  /** What choice `index` answers; by default its prompt's length and its own index. */
  readonly reply?: (request: CompletionRequest, index: number) => string;
  /** What a store is said to have held; default nothing. */
  readonly store?: (request: CompletionRequest) => StoreUse | null;
  /** Thrown instead of starting. */
  readonly failure?: (request: CompletionRequest) => unknown;
  /** Thrown after this many tokens. */
  readonly failAfter?: { readonly tokens: number; readonly error: unknown };
  /** Awaited before `start` (at -1) and before every token of choice 0. */
  readonly gate?: (tokenIndex: number, signal: AbortSignal) => Promise<void>;
}

const BOS = 256;
const END_OF_TURN = 257;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const STUB_CARD: ModelCard = {
  id: 'google/gemma-stub',
  createdSeconds: 1_700_000_000,
  contextTokens: 4096,
  precision: 'fast',
  acceptsImages: true,
  vocabSize: 258,
  defaults: {
    temperature: 1,
    topK: 64,
    topP: 0.95,
    minP: 0,
    repetitionPenalty: 1,
    maxTokens: 1024,
  },
};

export function createStubCompleter(options: StubOptions = {}): StubCompleter {
  const model = { ...STUB_CARD, ...options.card };
  const reply =
    options.reply ?? ((request, index) => `${promptIds(request.prompt).length}:${index}`);
  const requests: CompletionRequest[] = [];
  const abortWaiters: (() => void)[] = [];
  let active = 0;
  let peak = 0;
  let aborted = 0;

  async function* complete(
    request: CompletionRequest,
    signal: AbortSignal = new AbortController().signal,
  ): AsyncGenerator<CompletionEvent, void, undefined> {
    requests.push(request);
    active++;
    peak = Math.max(peak, active);
    let whole = false;
    try {
      if (options.failure !== undefined) {
        const failure = options.failure(request);
        if (failure !== undefined) throw failure;
      }
      await options.gate?.(-1, signal);
      signal.throwIfAborted();
      const prompt = promptIds(request.prompt);
      const { sampling } = request;
      yield {
        type: 'start',
        promptTokens: prompt.length,
        cachedTokens: Math.max(0, prompt.length - 2),
        imageTokens: imageCount(request.prompt) * 256,
        store: options.store?.(request) ?? null,
        prompt:
          sampling.promptLogprobs !== null || request.returnTokenIds
            ? prompt.map((id, at) => report(id, at === 0 ? null : sampling.promptLogprobs))
            : null,
      };
      const choices = Array.from({ length: request.choiceCount }, (_, index) => {
        return plan(reply(request, index), request);
      });
      const longest = Math.max(...choices.map((choice) => choice.ids.length));
      for (let at = 0; at < longest; at++) {
        await options.gate?.(at, signal);
        signal.throwIfAborted();
        if (options.failAfter?.tokens === at) throw options.failAfter.error;
        for (const [index, choice] of choices.entries()) {
          const id = choice.ids[at];
          if (id === undefined) continue;
          const text = choice.pieces[at] ?? '';
          yield { type: 'delta', index, text, tokens: [report(id, sampling.logprobs)] };
        }
      }
      for (const [index, choice] of choices.entries()) {
        yield {
          type: 'finish',
          index,
          reason: choice.reason,
          stopReason: choice.stopReason,
          completionTokens: choice.ids.length,
          timings: { queueMs: 1, prefillMs: 2, decodeMs: 3 },
        };
      }
      whole = true;
    } finally {
      active--;
      if (!whole) {
        aborted++;
        for (const wake of abortWaiters.splice(0)) wake();
      }
    }
  }

  return {
    model,
    state: 'ready',
    requests,
    complete,
    tokenize: async (request) => promptIds(request),
    detokenize: (ids) => ids.map((id) => tokenText(id, 0).text).join(''),
    async drain() {
      this.state = 'draining';
    },
    async close() {
      this.state = 'closed';
    },
    nextAbort: () => new Promise((resolve) => abortWaiters.push(resolve)),
    get activeCount() {
      return active;
    },
    get peakCount() {
      return peak;
    },
    get abortedCount() {
      return aborted;
    },
  };
}

interface Plan {
  readonly ids: readonly number[];
  /** Text each token sets free: whole characters only. */
  readonly pieces: readonly string[];
  readonly reason: 'stop' | 'length';
  readonly stopReason: string | null;
}

function plan(answer: string, { sampling }: CompletionRequest): Plan {
  let text = answer;
  let stopReason: string | null = null;
  for (const stop of sampling.stop) {
    const at = text.indexOf(stop);
    if (at < 0) continue;
    text = text.slice(0, at);
    stopReason = stop;
  }
  const ids = [...encoder.encode(text)];
  if (stopReason === null) ids.push(END_OF_TURN);
  const limit = sampling.maxTokens ?? Infinity;
  const cut = ids.length > limit;
  const kept = cut ? ids.slice(0, limit) : ids;
  const stream = new TextDecoder();
  const pieces = kept.map((id) =>
    id < 256 ? stream.decode(Uint8Array.of(id), { stream: true }) : '',
  );
  return {
    ids: kept,
    pieces,
    reason: cut ? 'length' : 'stop',
    stopReason: cut ? null : stopReason,
  };
}

/** The chosen token is the likeliest; alternatives follow, all by simple arithmetic on the id. */
function report(id: number, alternatives: number | null): TokenReport {
  const chosen = tokenText(id, -((id % 7) + 1) / 8);
  if (alternatives === null) return { ...chosen, logprob: null, top: [] };
  const top = Array.from({ length: alternatives }, (_, rank) =>
    rank === 0 ? chosen : tokenText((id + rank * 3) % 256, chosen.logprob - rank),
  );
  return { ...chosen, top };
}

function tokenText(id: number, logprob: number): TokenText {
  if (id === BOS) return { id, text: '<bos>', bytes: [], logprob };
  if (id === END_OF_TURN) return { id, text: '<end_of_turn>', bytes: [], logprob };
  const bytes = [id];
  return { id, text: decoder.decode(Uint8Array.from(bytes)), bytes, logprob };
}

function promptIds(prompt: PromptInput): number[] {
  switch (prompt.type) {
    case 'tokens':
      return [...prompt.ids];
    case 'text':
      return [...(prompt.addBos ? [BOS] : []), ...encoder.encode(prompt.text)];
    case 'chat': {
      const text = prompt.messages.map(({ role, parts }) => {
        const texts = parts.map((part) => (part.type === 'text' ? part.text : '<image>'));
        return `${role}:${texts.join('')}\n`;
      });
      return [BOS, ...encoder.encode(text.join(''))];
    }
    default:
      return prompt satisfies never;
  }
}

function imageCount(prompt: PromptInput): number {
  if (prompt.type !== 'chat') return 0;
  return prompt.messages.flatMap(({ parts }) => parts).filter(({ type }) => type === 'image')
    .length;
}
