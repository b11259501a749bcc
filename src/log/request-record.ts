import { ServeError } from '../errors.ts';
import type { RequestEndEvent } from '../http/request-events.ts';
import { toServeError } from '../openai/error-body.ts';
import type { CleanText } from './clean-text.ts';
import { type ErrorRecord, errorRecord } from './error-record.ts';

export type LogLevel = 'info' | 'warn' | 'error';

/** One request as it stands in the log; fields that have nothing to say are absent. */
export interface RequestRecord {
  readonly event: 'request';
  readonly level: LogLevel;
  readonly request_id: string;
  readonly method: string;
  /** Pattern of the route: what stands in its place may be private. */
  readonly route?: string;
  /** Where no route matched, without its query. */
  readonly path?: string;
  readonly status: number;
  readonly outcome: RequestEndEvent['outcome'];
  readonly e2e_ms: number;
  readonly ttft_ms?: number;
  /** First hex digits of the SHA-256 of the API key. */
  readonly key_id?: string;
  readonly model?: string;
  readonly is_stream?: boolean;
  readonly choices?: number;
  readonly max_tokens?: number;
  readonly prompt_tokens?: number;
  readonly cached_tokens?: number;
  readonly image_tokens?: number;
  readonly completion_tokens?: number;
  /** What was done with tokens that only the store held, and how many there were. */
  readonly kv_store?: string;
  readonly kv_store_tokens?: number;
  readonly queue_ms?: number;
  readonly prefill_ms?: number;
  readonly decode_ms?: number;
  readonly finish_reasons?: readonly string[];
  readonly trace_id?: string;
  readonly error_code?: string;
  readonly error?: ErrorRecord;
}

const MAX_ID = 128;
const MAX_PATH = 128;
const MAX_REASONS = 8;
/** A server that is busy or on its way up or down is no defect; others may do its work. */
const PASSING: ReadonlySet<string> = new Set(['queue_full', 'model_loading', 'draining']);

export function requestRecord(event: RequestEndEvent, clean: CleanText): RequestRecord {
  const { route, completion, usage, traceparent, keyId, ttftMs } = event;
  return {
    event: 'request',
    level: levelOf(event),
    request_id: clean(event.requestId, MAX_ID),
    method: clean(event.method, 16),
    ...(route === null ? { path: clean(event.path, MAX_PATH) } : { route }),
    status: event.status,
    outcome: event.outcome,
    e2e_ms: rounded(event.e2eMs),
    ...(ttftMs === null ? {} : { ttft_ms: rounded(ttftMs) }),
    ...(keyId === null ? {} : { key_id: keyId }),
    ...(completion === null
      ? {}
      : {
          model: clean(event.model, MAX_ID),
          is_stream: event.isStream,
          ...(completion.choiceCount === 1 ? {} : { choices: completion.choiceCount }),
          ...(completion.maxTokens === null ? {} : { max_tokens: completion.maxTokens }),
        }),
    ...(usage === null ? {} : usageFields(usage)),
    ...(event.finishReasons.length === 0
      ? {}
      : { finish_reasons: event.finishReasons.slice(0, MAX_REASONS) }),
    ...(traceparent === null ? {} : { trace_id: traceparent.slice(3, 35) }),
    ...(event.outcome === 'error' ? errorFields(event, clean) : {}),
  };
}

function usageFields(usage: NonNullable<RequestEndEvent['usage']>): Partial<RequestRecord> {
  const { store } = usage;
  return {
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    ...(usage.imageTokens === 0 ? {} : { image_tokens: usage.imageTokens }),
    completion_tokens: usage.completionTokens,
    ...(store === null ? {} : { kv_store: store.choice, kv_store_tokens: store.tokens }),
    queue_ms: rounded(usage.queueMs),
    prefill_ms: rounded(usage.prefillMs),
    decode_ms: rounded(usage.decodeMs),
  };
}

function errorFields(event: RequestEndEvent, clean: CleanText): Partial<RequestRecord> {
  const { error, errorCode } = event;
  const isDefect = errorCode === 'internal';
  return {
    ...(errorCode === null ? {} : { error_code: errorCode }),
    error: errorRecord(error, clean, isDefect),
  };
}

/** Not by the status: what a stream fails with comes after its 200. */
function levelOf({ outcome, error }: RequestEndEvent): LogLevel {
  return outcome === 'error' ? errorLevel(error) : 'info';
}

/** What clients do wrong is no news, what passes is a warning, the rest needs somebody. */
export function errorLevel(error: unknown): LogLevel {
  const { status, code } = ServeError.is(error) ? error : toServeError(error);
  if (status < 500 && status !== 429) return 'info';
  return PASSING.has(code) ? 'warn' : 'error';
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
