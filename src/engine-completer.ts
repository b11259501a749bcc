import type {
  Completer,
  CompletionEvent,
  CompletionRequest,
  ModelCard,
  PromptInput,
  TokenReport,
} from './completer.ts';
import type {
  Engine,
  GenerateEvent,
  PreparedPrompt,
  SamplingParams,
  TokenBytes,
} from './engine/engine.ts';
import type { RemoteEngine } from './fleet/remote-engine.ts';
import type { ReplicaAccess, ServedModel } from './fleet/served-model.ts';
import { mergeStreams } from './lib/merge-streams.ts';
import type { ModelConfig } from './model/config.ts';
import { createTextDecoder } from './prompt/text-decoder.ts';
import type { PromptWithCounts } from './prompt/prepare.ts';
import type { Tokenizer } from './prompt/tokenizer.ts';
import { createTokenReporter } from './token-reports.ts';
import type { TokenReporter } from './token-reports.ts';

export interface EngineCompleterOptions {
  /** One that computes elsewhere has no stats. */
  readonly engine: RemoteEngine & Partial<Pick<Engine, 'stats'>>;
  readonly tokenizer: Tokenizer;
  /** Template, tokens and images of a prompt. */
  readonly prepare: (input: PromptInput, signal?: AbortSignal) => Promise<PromptWithCounts>;
  readonly card: ModelCard;
  /** What gateways ask beside answers; left out, it is no replica of a fleet. */
  readonly replica?: Pick<ReplicaAccess, 'vocabulary' | 'loadImage'> &
    Pick<ServedModel, 'image' | 'fingerprint'>;
}

const NO_BYTES = new Uint8Array(0);

/** Share of the assistant's tokens by which they may grow; sampled text is rarely split so oddly. */
const RESAID_RESERVE = 1 / 16;

/** Choices of one request that run at once where nobody knows how many rows there are. */
const REMOTE_CHOICES = 8;

type GenerateStart = Extract<GenerateEvent, { type: 'prefill-end' }>;

/** Creates the completer over our own engine: text in and out, around ids and bytes. */
export function createEngineCompleter(options: EngineCompleterOptions): Completer {
  const { engine, tokenizer, prepare, card } = options;
  const reporter = createTokenReporter(tokenizer);

  async function* complete(
    request: CompletionRequest,
    signal?: AbortSignal,
  ): AsyncGenerator<CompletionEvent, void, undefined> {
    const { choiceCount, scope, tenant, sessionId } = request;
    const { imageTokens, ...prepared } = await prepare(request.prompt, signal);
    const session =
      sessionId === null ? null : { tenant, id: sessionId, turn: crypto.randomUUID() };
    const prompt: PreparedPrompt = { ...prepared, scope, tenant, session };
    const params = toSamplingParams(request, prompt, card);
    const sources = Array.from(
      { length: choiceCount },
      (_, index) => (choiceSignal: AbortSignal) =>
        engine.generate(prompt, choiceParams(params, index), choiceSignal),
    );
    const choices = sources.map(() => createChoiceWriter(request, params, reporter));
    // Other choices may get ahead of the first, which alone reports on the prompt.
    const early: CompletionEvent[] = [];
    let hasStarted = false;
    // One request never takes more than all rows: its further choices wait here, not in the queue.
    const concurrency = engine.stats?.().rowCount ?? REMOTE_CHOICES;
    for await (const [index, event] of mergeStreams(sources, concurrency, signal)) {
      if (event.type === 'prefill-end') {
        if (index !== 0) continue;
        hasStarted = true;
        yield startEvent(request, imageTokens, event, reporter);
        yield* early.splice(0);
        continue;
      }
      const written = choices[index]?.(index, event) ?? [];
      if (hasStarted) yield* written;
      else early.push(...written);
    }
  }

  return {
    model: card,
    get state() {
      return engine.state;
    },
    complete,
    async tokenize(input, signal) {
      const prompt = await prepare(input, signal);
      return Array.from(prompt.tokens);
    },
    detokenize: (ids) => tokenizer.decode(ids, { keepSpecial: true }),
    ...(engine.stats === undefined ? {} : { stats: () => engine.stats?.() }),
    ...(options.replica === undefined ? {} : { replica: replicaAccess(options, options.replica) }),
    drain: (deadlineMs) => engine.drain(deadlineMs),
    close: () => engine.close(),
  };
}

function replicaAccess(
  { engine, card }: EngineCompleterOptions,
  { image, fingerprint, vocabulary, loadImage }: NonNullable<EngineCompleterOptions['replica']>,
): ReplicaAccess {
  return {
    model: async () => ({ card, config: engine.model.config, image, fingerprint }),
    vocabulary,
    loadImage,
    generate: (prompt, params, signal) => engine.generate(prompt, params, signal),
  };
}

/**
 * The bytes of every token for the engine, and the ids it must never choose: rows of the logits
 * without a token, `<pad>`, `<bos>` and the image markers.
 */
export function tokenBytesOf(tokenizer: Tokenizer, config: ModelConfig): TokenBytes {
  const { special, vocabSize } = tokenizer;
  const never = [
    special.pad,
    special.bos,
    special.startOfImage,
    special.endOfImage,
    special.imageSoftToken,
  ];
  const suppressed = new Set(never.filter((id) => id !== null));
  for (let id = vocabSize; id < config.text.vocabSize; id++) suppressed.add(id);
  return {
    vocabSize,
    bytes: (id) => (id >= vocabSize || special.all.has(id) ? NO_BYTES : tokenizer.bytes(id)),
    suppressed: Array.from(suppressed).toSorted((a, b) => a - b),
  };
}

function toSamplingParams(
  request: CompletionRequest,
  prompt: PreparedPrompt,
  card: ModelCard,
): SamplingParams {
  const { sampling } = request;
  const encoder = new TextEncoder();
  const left = card.contextTokens - prompt.tokens.length;
  const room = left - resaidReserve(prompt, left);
  return {
    ...sampling,
    stop: sampling.stop.map((text) => encoder.encode(text)),
    // With nothing left, ask for one: the engine's refusal then names the numbers.
    maxTokens:
      sampling.maxTokens ??
      Math.max(1, sampling.minTokens, Math.min(room, card.defaults.maxTokens)),
  };
}

/**
 * Tokens to leave free where a completion may take all that is left of the context: the ids that
 * the engine said before can be a few more than those their text was encoded to, and a prompt that
 * no longer fits with them is computed anew.
 */
function resaidReserve({ assistantSpans }: PreparedPrompt, left: number): number {
  const saidTokens = assistantSpans.reduce((sum, { start, end }) => sum + end - start, 0);
  const reserve = Math.ceil(saidTokens * RESAID_RESERVE);
  return Math.max(0, Math.min(reserve, Math.floor(left / 2)));
}

/** Choices differ by seed; the prompt is reported on once. */
function choiceParams(params: SamplingParams, index: number): SamplingParams {
  if (index === 0) return params;
  return { ...params, seed: (params.seed + index) >>> 0, promptLogprobs: null };
}

function startEvent(
  request: CompletionRequest,
  imageTokens: number,
  event: GenerateStart,
  reporter: TokenReporter,
): CompletionEvent {
  const isReported = request.returnTokenIds || request.sampling.promptLogprobs !== null;
  return {
    type: 'start',
    promptTokens: event.promptTokens,
    cachedTokens: event.cachedTokens,
    imageTokens,
    store: event.store,
    prompt: isReported ? promptReports(event, reporter) : null,
  };
}

function promptReports(event: GenerateStart, reporter: TokenReporter): readonly TokenReport[] {
  return Array.from(event.tokens, (id, position) =>
    reporter.report(id, event.promptLogprobs?.[position] ?? null),
  );
}

/** Turns the engine's events of one choice into text deltas and its finish. */
type ChoiceWriter = (
  index: number,
  event: Exclude<GenerateEvent, GenerateStart>,
) => CompletionEvent[];

function createChoiceWriter(
  request: CompletionRequest,
  params: SamplingParams,
  reporter: TokenReporter,
): ChoiceWriter {
  const decoder = createTextDecoder();
  return (index, event) => {
    if (event.type === 'token') {
      const text = decoder.push(event.bytes);
      return [{ type: 'delta', index, text, tokens: [reporter.report(event.id, event.logprobs)] }];
    }
    const text = decoder.push(event.bytes) + decoder.flush();
    const rest: CompletionEvent[] = text === '' ? [] : [{ type: 'delta', index, text, tokens: [] }];
    const finish: CompletionEvent = {
      type: 'finish',
      index,
      reason: event.reason,
      stopReason: stopReason(request, params, event),
      completionTokens: event.completionTokens,
      timings: event.timings,
    };
    return [...rest, finish];
  };
}

/** The client's own stop string or id that ended a choice; null for the model's end of turn. */
function stopReason(
  request: CompletionRequest,
  params: SamplingParams,
  event: Extract<GenerateEvent, { type: 'finish' }>,
): string | number | null {
  if (event.stopIndex !== null) return request.sampling.stop[event.stopIndex] ?? null;
  if (event.stopId !== null && params.stopIds.includes(event.stopId)) return event.stopId;
  return null;
}
