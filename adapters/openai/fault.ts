import { ServeError, type ErrorCode } from '../../src/errors.ts';
import { isObject, type JsonObject } from '../../src/openai/parse.ts';
import { countOf, objectOf, textOf } from './json.ts';

/** What a server said of a failure. */
export interface Failure {
  /** HTTP status; of an error inside a stream the one that its code stands for, 500 by default. */
  readonly status: number;
  readonly message: string;
  /** `code` or `type` of the error, where it has a name. */
  readonly name: string;
  readonly param: string | null;
  /** Milliseconds; null when the server has no wish. */
  readonly retryAfterMs: number | null;
}

const MAX_MESSAGE_CHARACTERS = 400;
/** What is looked through: what is hidden may be cut by a shorter bound. */
const MAX_READ_CHARACTERS = 2_000;
const MAX_RETRY_MS = 60_000;
const RETRY_MS = 1_000;

const TOO_LONG =
  /context (length|size|window)|longer than the model|max_model_len|exceed_context|maximum (input )?length|must have less than|tokens \+ .max_new_tokens/i;
const LOADING = /load|start(ing|up)|warm|not ready|initializ/i;
const DRAINING = /drain|shut(ting)? ?down|stopping|going away/i;

/**
 * Reads the body of an answer that is no success. vLLM and llama.cpp: `{error: {message, type, code}}`
 * with a number for a code; older vLLM and SGLang: the same without `error`; TGI: `{error, error_type}`;
 * FastAPI: `{detail}`.
 */
export function readFailure(status: number, headers: Headers, text: string): Failure {
  // A proxy's page says nothing beyond the status.
  const body = parse(text) ?? (text.trimStart().startsWith('<') ? '' : text);
  return { ...readError(body), status, retryAfterMs: retryAfterMs(headers) };
}

/** Reads a frame of a stream that tells of a failure; null when it does not. */
export function failureInBand(frame: JsonObject): Failure | null {
  const { error, object } = frame;
  const isError = (error !== undefined && error !== null) || object === 'error';
  return isError ? { ...readError(frame), retryAfterMs: null } : null;
}

/**
 * What a client is told.
 * @param hide takes secrets out of the server's words
 */
export function explainFailure(failure: Failure, hide: (text: string) => string): ServeError {
  const { status, name, param } = failure;
  const message = shown(failure.message, hide);
  const wishMs = failure.retryAfterMs;
  const retry = wishMs === null ? {} : { retryAfterMs: Math.min(MAX_RETRY_MS, wishMs) };
  const cause = new Error(`the engine answered ${status}: ${message}`);
  if (status === 401 || status === 403) {
    return new ServeError(
      'backend_unavailable',
      'The engine behind this server did not let it in; the log says why.',
      { cause: new Error(`HTTP ${status}: set the API key of the upstream server`, { cause }) },
    );
  }
  if (status === 404 || (status >= 300 && status < 400)) {
    return new ServeError(
      'backend_unavailable',
      'The engine behind this server does not have what it was asked for; the log says what.',
      {
        cause: new NoSuchRoute('check base URL, kind and model of the upstream server', { cause }),
      },
    );
  }
  // Another gemlet names the failure as we do.
  // TGI's word for a full queue is ours for another thing.
  if (ServeError.isCode(name) && !(name === 'overloaded' && status === 429))
    return new ServeError(name, message, { param, cause, ...retry });
  if (TOO_LONG.test(`${name} ${failure.message}`) && (status < 500 || status === 500)) {
    return new ServeError('context_length_exceeded', message, { cause });
  }
  if (status === 429) {
    return new ServeError('queue_full', 'The engine is busy. Retry later.', { cause, ...retry });
  }
  if (status === 503) {
    const [code, text] = unavailable(failure.message);
    return new ServeError(code, text, { cause, ...retry });
  }
  if (status === 408 || status === 425 || status === 502 || status === 504) {
    return lost('could not be reached', cause);
  }
  // 424 is TGI's word for a failure of its own.
  if (status >= 400 && status < 500 && status !== 424) {
    return new ServeError('invalid_request', `The engine refused the request: ${message}`, {
      param,
      cause,
    });
  }
  return new ServeError('internal', 'The engine failed on this request; the log says how.', {
    cause,
  });
}

class NoSuchRoute extends Error {}

/** Whether the server said that it has no such route, or sent us to another. */
export function isMissing(error: unknown): boolean {
  return ServeError.is(error) && error.cause instanceof NoSuchRoute;
}

/** It did not answer as servers do; the cause is for the log, it may name addresses. */
export function lost(what: string, cause?: unknown): ServeError {
  return new ServeError('upstream_unavailable', `The engine behind this server ${what}. Retry.`, {
    retryAfterMs: RETRY_MS,
    ...(cause === undefined ? {} : { cause }),
  });
}

function unavailable(message: string): readonly [ErrorCode, string] {
  if (LOADING.test(message)) return ['model_loading', 'The engine loads its model. Retry later.'];
  if (DRAINING.test(message)) return ['draining', 'The engine is going away. Retry elsewhere.'];
  return ['upstream_unavailable', 'The engine takes no requests now. Retry later.'];
}

function readError(body: unknown): Omit<Failure, 'retryAfterMs'> {
  if (!isObject(body)) return { status: 500, message: String(body), name: '', param: null };
  const inner = isObject(body['error']) ? body['error'] : body;
  const code = inner['code'] ?? objectOf(inner)['http_status_code'];
  const status = countOf(code) ?? countOf(inner['http_status_code']) ?? statusOf(body);
  const detail = inner['detail'];
  const message = textOf(inner['message']) ?? textOf(inner['error']) ?? textOf(detail);
  return {
    status,
    message: message ?? (detail === undefined ? '' : JSON.stringify(detail)),
    name: textOf(code) ?? textOf(inner['type']) ?? textOf(inner['error_type']) ?? '',
    param: textOf(inner['param']),
  };
}

/** TGI names the kind of failure of a stream instead of a status. */
function statusOf(body: JsonObject): number {
  const type = body['error_type'];
  if (type === 'validation' || type === 'template_error') return 422;
  return type === 'overloaded' ? 429 : 500;
}

/** Validators of Python servers repeat the whole input, which holds prompts. */
function shown(message: string, hide: (text: string) => string): string {
  const [text = ''] = message.split(/["']input["']\s*:/);
  const safe = hide(text.slice(0, MAX_READ_CHARACTERS)).slice(0, MAX_MESSAGE_CHARACTERS);
  return safe || 'it did not say why';
}

function retryAfterMs(headers: Headers): number | null {
  const ms = Number(headers.get('retry-after-ms') ?? Number.NaN);
  if (Number.isFinite(ms) && ms >= 0) return ms;
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
