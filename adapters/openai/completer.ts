import type {
  Completer,
  CompleterState,
  CompletionEvent,
  CompletionRequest,
  ModelCard,
  SamplingDefaults,
} from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import { baseUrl } from '../../src/fleet/base-url.ts';
import type { SafeFetch } from '../../src/image/safe-fetch.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { FailureEvent } from '../../src/log/failure-record.ts';
import { mergeStreams } from '../../src/lib/merge-streams.ts';
import { parseGenerationConfig } from '../../src/model/generation-config.ts';
import type { Tokenizer } from '../../src/prompt/tokenizer.ts';
import type { Dialect, UpstreamKind, UpstreamPrompt } from './call.ts';
import type { Upstream } from './card.ts';
import { createChatDialect } from './chat-dialect.ts';
import { askChoice } from './choice.ts';
import { createCompletionsDialect } from './completions-dialect.ts';
import { createConnection } from './connection.ts';
import { createLink } from './link.ts';
import { createLlamaDialect } from './llama-dialect.ts';
import { createReports } from './reports.ts';
import { detokenizeThere, tokenizeThere } from './server-tokens.ts';
import { createSglangDialect } from './sglang-dialect.ts';
import { refuseLacking } from './support.ts';
import { choiceCall, toCall } from './to-call.ts';
import {
  type Prepare,
  type PromptParts,
  type ShapeImage,
  toUpstreamPrompt,
} from './upstream-prompt.ts';

export interface UpstreamCompleterOptions {
  /** Such as `http://10.0.0.1:8000`; a `/v1` at its end does no harm. */
  readonly baseUrl: string;
  /** Sent as a bearer token. */
  readonly apiKey?: string;
  /** Sent with every request, as a platform in front of the server may want them. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Of those the server lists; default: the first. */
  readonly model?: string;
  /** Default `auto`: the server is asked. */
  readonly kind?: UpstreamKind | 'auto';
  /**
   * Template and tokens of a prompt, so that vLLM, SGLang and llama.cpp get our ids. Left out, they get
   * messages and text, and their own template and tokenizer apply.
   */
  readonly prepare?: Prepare;
  /** Of the model; tells ids from texts exactly. */
  readonly tokenizer?: Tokenizer;
  /** Wins over what the server says of its model. */
  readonly card?: Partial<ModelCard>;
  /** Longest prompt plus completion where neither `card` nor the server says it; left out, such servers are refused. */
  readonly contextTokens?: number;
  /** Where a request is silent and the server does not say its own; default: Gemma's. */
  readonly defaults?: SamplingDefaults;
  /** Header in which the conversations that clients named are named to what balances the load there, hashed. */
  readonly sessionHeader?: string;
  /** Fetches pictures that clients name by URL; null (default) refuses those. */
  readonly fetchUrl?: SafeFetch | null;
  /**
   * A picture as the model's vision tower takes it, as a PNG, for servers that would shape it otherwise
   * (llama.cpp). Left out, they get the file.
   */
  readonly shapeImage?: ShapeImage;
  readonly clock: Clock;
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds of silence after which the server counts as lost; default 10 minutes. */
  readonly stallMs?: number;
  /** Milliseconds that a server which loads or cannot be reached is waited for; default 15 minutes. */
  readonly coldMs?: number;
  /** Times a request is sent while the server cannot be reached, before its first word; default 3. */
  readonly maxAttempts?: number;
  /** Hears why the server is waited for; must not throw. */
  readonly onEvent?: (event: FailureEvent) => void;
}

const STALL_MS = 10 * 60_000;
const COLD_MS = 15 * 60_000;
const MAX_ATTEMPTS = 3;
/** Choices of one request that are asked for at once. */
const CHOICE_CONCURRENCY = 8;

/**
 * Creates a completer over another server of the same model: vLLM, SGLang, llama.cpp, TGI, any other
 * with OpenAI's API, or another gemlet. Each choice is one request there, with seed + index. What the
 * server would ignore is refused. Images go as messages, as ids cannot carry them: the server's template
 * and image preprocessing apply to those.
 * @throws ServeError invalid_url
 */
export function createUpstreamCompleter(options: UpstreamCompleterOptions): Completer {
  const { clock, tokenizer = null, prepare = null, fetchUrl = null } = options;
  const { sessionHeader = null, shapeImage = null } = options;
  const parts: PromptParts = { prepare, fetchUrl, shapeImage };
  const link = createLink({
    baseUrl: baseUrl(options.baseUrl).replace(/\/v1$/, ''),
    apiKey: options.apiKey ?? null,
    headers: options.headers ?? {},
    fetch: options.fetch ?? ((url, init) => fetch(url, init)),
    clock,
    stallMs: options.stallMs ?? STALL_MS,
  });
  const connection = createConnection({
    link,
    clock,
    kind: options.kind ?? 'auto',
    model: options.model ?? null,
    card: options.card ?? {},
    contextTokens: options.contextTokens ?? null,
    defaults: options.defaults ?? parseGenerationConfig(null),
    vocabSize: tokenizer?.vocabSize ?? null,
    coldMs: options.coldMs ?? COLD_MS,
    onDown: (error) =>
      options.onEvent?.({
        type: 'failure',
        what: 'the server behind is not there',
        error,
        level: 'warn',
      }),
  });
  const reports = createReports(tokenizer);
  const stop = new AbortController();
  let end: 'open' | 'draining' | 'closed' = 'open';
  let runningCount = 0;
  const idleWaiters = new Set<() => void>();

  function untilStopped(signal: AbortSignal | undefined): AbortSignal {
    return signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  }

  function dialectOf({ kind, isIncremental }: Upstream, prompt: UpstreamPrompt): Dialect {
    if (prompt.type === 'chat') return createChatDialect(reports);
    if (kind === 'sglang') return createSglangDialect(reports, isIncremental);
    if (kind === 'llama.cpp') return createLlamaDialect(reports);
    return createCompletionsDialect(reports, tokenizer !== null);
  }

  async function* ask(
    request: CompletionRequest,
    signal: AbortSignal,
  ): AsyncGenerator<CompletionEvent, void, undefined> {
    const upstream = await connection.connected(signal);
    const { kind } = upstream;
    const prompt = await toUpstreamPrompt(request.prompt, kind, parts, signal);
    refuseLacking(kind, prompt, request);
    const dialect = dialectOf(upstream, prompt);
    const call = await toCall(request, prompt, upstream, sessionHeader);
    const maxAttempts = options.maxAttempts ?? MAX_ATTEMPTS;
    const choice = { link, clock, dialect, reports, maxAttempts };
    const sources = Array.from(
      { length: request.choiceCount },
      (_, index) => (choiceSignal: AbortSignal) =>
        askChoice(choice, choiceCall(call, index), index, choiceSignal),
    );
    // Other choices may get ahead of the first, which alone reports on the prompt.
    const early: CompletionEvent[] = [];
    let hasStarted = false;
    for await (const [index, event] of mergeStreams(sources, CHOICE_CONCURRENCY, signal)) {
      if (event.type !== 'start') {
        if (hasStarted) yield event;
        else early.push(event);
      } else if (index === 0) {
        hasStarted = true;
        yield event;
        yield* early.splice(0);
      }
    }
  }

  async function* complete(
    request: CompletionRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<CompletionEvent, void, undefined> {
    signal?.throwIfAborted();
    if (end !== 'open') throw notServing(end);
    runningCount++;
    try {
      yield* ask(request, untilStopped(signal));
    } catch (error) {
      if (ServeError.is(error) && DOWN.has(error.code)) connection.noteDown();
      throw error;
    } finally {
      runningCount--;
      if (runningCount === 0) for (const wake of idleWaiters) wake();
    }
  }

  return {
    get model() {
      if (connection.upstream !== null) return connection.upstream.card;
      throw new ServeError('model_loading', 'The model is not known yet. Retry in a moment.');
    },
    get state(): CompleterState {
      return end === 'open' ? connection.state : end;
    },
    describe: async (signal) => (await connection.connected(untilStopped(signal))).card,
    async ready(signal) {
      await connection.connected(untilStopped(signal));
    },
    progress: () => connection.progress(),
    readyInMs: () => connection.readyInMs(),
    fleet: () => ({
      state: connection.state === 'idle' ? 'cold' : connection.state,
      replicas: null,
    }),
    complete,
    async tokenize(input, signal) {
      if (prepare !== null) return Array.from((await prepare(input, signal)).tokens);
      const both = untilStopped(signal);
      const upstream = await connection.connected(both);
      const prompt = await toUpstreamPrompt(input, upstream.kind, parts, both);
      return tokenizeThere(link, upstream, prompt, both);
    },
    async detokenize(ids, signal) {
      if (tokenizer !== null) return tokenizer.decode(ids, { keepSpecial: true });
      const both = untilStopped(signal);
      return detokenizeThere(link, await connection.connected(both), ids, both);
    },
    async drain(deadlineMs) {
      if (end === 'closed') return;
      end = 'draining';
      const timer = new AbortController();
      const over = clock.sleep(deadlineMs, timer.signal).catch(() => undefined);
      if (runningCount > 0) {
        await Promise.race([over, new Promise<void>((resolve) => idleWaiters.add(resolve))]);
      }
      timer.abort();
      stop.abort(notServing('draining'));
    },
    async close() {
      end = 'closed';
      stop.abort(notServing('closed'));
      connection.close();
    },
  };
}

/** After these the server is looked at before it is asked again. */
const DOWN: ReadonlySet<string> = new Set(['upstream_unavailable', 'model_loading', 'draining']);

function notServing(end: 'draining' | 'closed'): ServeError {
  return new ServeError(
    'draining',
    `The server is ${end} and takes no more work. Retry elsewhere.`,
  );
}
