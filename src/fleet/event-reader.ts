import type {
  FinishReason,
  GenerateEvent,
  PreparedPrompt,
  SamplingParams,
  StoreUse,
  TokenLogprob,
  TokenLogprobs,
} from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import { fromBase64 } from '../lib/base64.ts';
import type { LoadProgress } from '../load-progress.ts';
import type { WireEvent } from './wire-events.ts';

/** What was asked for, which bounds what may be answered. */
export interface Asked {
  readonly prompt: PreparedPrompt;
  readonly params: SamplingParams;
  readonly vocabSize: number;
  readonly contextTokens: number;
}

/** Reads the lines of one answer. */
export interface EventReader {
  /** Characters that a line may have. */
  readonly maxLineCharacters: number;
  /** @throws SyntaxError for a line that a replica of this version would not say here */
  read(line: string): WireEvent;
}

type Fields = Readonly<Record<string, unknown>>;

const LINE_CHARACTERS = 4 * 2 ** 20;
/** Of one position's log probability and each of its alternatives, as JSON. */
const LOGPROB_CHARACTERS = 80;
/** Text held back for a stop string comes at once; longer than all of them it never is. */
const MAX_BYTES_CHARACTERS = 64 * 1024;
const MAX_MESSAGE_CHARACTERS = 1_000;
const STATES = new Set(['idle', 'loading', 'ready', 'draining', 'closed']);
const NO_BYTES = new Uint8Array(0);

/**
 * A replica is believed as little as a client: one that was taken over, or is of another version, must not
 * cost the gateway more than an answer. Events come in the order in which an engine gives them.
 */
export function createEventReader({
  prompt,
  params,
  vocabSize,
  contextTokens,
}: Asked): EventReader {
  const logprobsPerToken = (params.promptLogprobs ?? 0) + 1;
  const promptCharacters =
    params.promptLogprobs === null ? 0 : contextTokens * logprobsPerToken * LOGPROB_CHARACTERS;
  const saidBefore = prompt.answer?.length ?? 0;
  let tokensLeft = params.maxTokens - saidBefore;
  /** Of the prompt nothing comes again where an answer goes on. */
  let isPromptOver = saidBefore > 0;
  let hasBegun = false;

  const isId = (value: unknown): value is number => isCount(value, vocabSize - 1);
  const isLength = (value: unknown): value is number => isCount(value, contextTokens);

  function readPrompt(tokens: unknown): Int32Array {
    if (tokens === null) return prompt.tokens;
    expectThat(Array.isArray(tokens) && tokens.length <= contextTokens, 'tokens');
    expectThat(tokens.every(isId), 'tokens');
    return Int32Array.from(tokens);
  }

  function readLogprobs(value: unknown, topCount: number | null): TokenLogprobs | null {
    if (value === null) return null;
    expectThat(topCount !== null && isObject(value) && Array.isArray(value['top']), 'logprobs');
    expectThat(value['top'].length <= topCount, 'logprobs');
    const top = value['top'].map((entry: unknown): TokenLogprob => {
      expectThat(isObject(entry) && isId(entry['id']), 'logprobs');
      return { id: entry['id'], logprob: readLogprob(entry['logprob']) };
    });
    return { logprob: readLogprob(value['logprob']), top };
  }

  function readPromptLogprobs(value: unknown): readonly (TokenLogprobs | null)[] | null {
    if (value === null) return null;
    expectThat(Array.isArray(value) && value.length <= contextTokens, 'promptLogprobs');
    return value.map((entry) => readLogprobs(entry, params.promptLogprobs));
  }

  function begin(event: Fields): GenerateEvent {
    expectThat(!hasBegun, 'second prefill-end');
    hasBegun = true;
    isPromptOver = true;
    const { promptTokens, cachedTokens } = event;
    expectThat(isLength(promptTokens) && isLength(cachedTokens), 'promptTokens');
    return {
      type: 'prefill-end',
      tokens: readPrompt(event['tokens']),
      promptTokens,
      cachedTokens,
      store: readStore(event['store'], isLength),
      promptLogprobs: readPromptLogprobs(event['promptLogprobs']),
    };
  }

  function token({ id, bytes, logprobs }: Fields): GenerateEvent {
    expectThat(isPromptOver, 'token before prefill-end');
    expectThat(tokensLeft-- > 0, `token beyond ${params.maxTokens}`);
    expectThat(isId(id), 'id');
    const said = readLogprobs(logprobs, params.logprobs);
    return { type: 'token', id, bytes: readBytes(bytes), logprobs: said };
  }

  function finish(event: Fields): GenerateEvent {
    expectThat(isPromptOver, 'finish before prefill-end');
    const { reason, stopIndex, stopId, promptTokens, cachedTokens, completionTokens } = event;
    expectThat(reason === 'stop' || reason === 'length', 'reason');
    expectThat(stopIndex === null || isCount(stopIndex, params.stop.length - 1), 'stopIndex');
    expectThat(stopId === null || isId(stopId), 'stopId');
    expectThat(isLength(promptTokens) && isLength(cachedTokens), 'promptTokens');
    expectThat(isCount(completionTokens, params.maxTokens), 'completionTokens');
    const timings = event['timings'];
    expectThat(isObject(timings), 'timings');
    const { queueMs, prefillMs, decodeMs } = timings;
    expectThat(isAmount(queueMs) && isAmount(prefillMs) && isAmount(decodeMs), 'timings');
    return {
      type: 'finish',
      reason: reason satisfies FinishReason,
      bytes: readBytes(event['bytes']),
      stopIndex,
      stopId,
      promptTokens,
      cachedTokens,
      completionTokens,
      timings: { queueMs, prefillMs, decodeMs },
    };
  }

  return {
    maxLineCharacters: LINE_CHARACTERS + promptCharacters,
    read(line) {
      const event: unknown = JSON.parse(line);
      expectThat(isObject(event), 'line');
      switch (event['type']) {
        case 'prefill-end':
          return begin(event);
        case 'token':
          return token(event);
        case 'finish':
          return finish(event);
        case 'wait':
          return readWait(event);
        case 'error':
          return { type: 'error', error: readError(event) };
        default:
          throw new SyntaxError('a line is no event of a replica');
      }
    },
  };
}

function readWait({ state, progress }: Fields): WireEvent {
  expectThat(typeof state === 'string' && STATES.has(state), 'state');
  expectThat(progress === null || isProgress(progress), 'progress');
  return { type: 'wait', state, progress } as Extract<WireEvent, { type: 'wait' }>;
}

/** Whether it is how far a load is. */
export function isProgress(value: unknown): value is LoadProgress {
  if (!isObject(value)) return false;
  const { phase, loadedBytes, totalBytes, bytesPerSecond, etaMs, startedMs } = value;
  return (
    typeof phase === 'string' &&
    phase.length <= 64 &&
    [loadedBytes, bytesPerSecond, startedMs].every(isAmount) &&
    [totalBytes, etaMs].every((amount) => amount === null || isAmount(amount))
  );
}

/** Clients get the words of known codes, cut to a length; of others only the log hears. */
function readError({ code, message, param, retryAfterMs }: Fields): ServeError {
  expectThat(typeof message === 'string', 'message');
  const text = message.slice(0, MAX_MESSAGE_CHARACTERS);
  if (typeof code !== 'string' || !ServeError.isCode(code)) {
    return new ServeError('upstream_unavailable', 'The replica failed. Retry.', {
      cause: new Error(`${String(code).slice(0, 64)}: ${text}`),
    });
  }
  return new ServeError(code, text, {
    param: typeof param === 'string' ? param.slice(0, MAX_MESSAGE_CHARACTERS) : null,
    ...(isAmount(retryAfterMs) ? { retryAfterMs } : {}),
  });
}

function readStore(
  value: unknown,
  isLength: (tokens: unknown) => tokens is number,
): StoreUse | null {
  if (value === null) return null;
  expectThat(isObject(value), 'store');
  const { choice, tokens } = value;
  expectThat((choice === 'restore' || choice === 'recompute') && isLength(tokens), 'store');
  return { choice, tokens };
}

/** JSON knows no infinity: a token without any probability comes as null. */
function readLogprob(value: unknown): number {
  if (value === null) return Number.NEGATIVE_INFINITY;
  expectThat(typeof value === 'number', 'logprob');
  return value;
}

function readBytes(value: unknown): Uint8Array {
  if (value === '') return NO_BYTES;
  expectThat(typeof value === 'string' && value.length <= MAX_BYTES_CHARACTERS, 'bytes');
  return fromBase64(value);
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most;
}

/** JSON can hold numbers too large to be finite. */
function isAmount(value: unknown): value is number {
  return Number.isFinite(value) && (value as number) >= 0;
}

function expectThat(holds: boolean, what: string): asserts holds {
  if (!holds) throw new SyntaxError(`a replica's event has a wrong ${what}`);
}
