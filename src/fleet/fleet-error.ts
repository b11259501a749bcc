import { ServeError } from '../errors.ts';

/**
 * Why an attempt came to nothing, which decides what is tried next.
 * - `final`: the request itself is at fault, any replica would say the same.
 * - `cold`: there is no model loaded where it went: it has to be waited for.
 * - `refused`: this replica cannot now, another one may.
 * - `gone`: the replica that the session was pinned to is no more.
 * - `lost`: it did not answer, or broke off.
 */
export type AttemptFailure = 'final' | 'cold' | 'refused' | 'gone' | 'lost';

/** An attempt that failed, with what a client would be told. */
export class AttemptError extends Error {
  override readonly name: string = 'AttemptError';
  readonly failure: AttemptFailure;
  readonly reason: ServeError;
  /** It was lost while it worked on the request, which may be why. */
  readonly wasAtWork: boolean;

  constructor(failure: AttemptFailure, reason: ServeError, wasAtWork = false) {
    super(reason.message, { cause: reason });
    this.failure = failure;
    this.reason = reason;
    this.wasAtWork = wasAtWork;
  }
}

/** What a replica's own error means for the request. */
export function failureOf({ code }: ServeError): AttemptFailure {
  switch (code) {
    case 'model_loading':
      return 'cold';
    case 'queue_full':
    case 'draining':
    case 'out_of_memory':
    case 'weights_unavailable':
      return 'refused';
    case 'internal':
    case 'backend_unavailable':
    case 'upstream_unavailable':
    case 'invalid_checkpoint':
    case 'unsupported_model':
      return 'lost';
    default:
      return 'final';
  }
}

/** The replica did not answer as replicas do; the cause is for the log, it may name addresses. */
export function lostReplica(what: string, cause?: unknown): AttemptError {
  const reason = new ServeError('upstream_unavailable', `The replica ${what}. Retry.`, {
    retryAfterMs: 1_000,
    ...(cause === undefined ? {} : { cause }),
  });
  return new AttemptError('lost', reason);
}

/** The same, for a replica that had the request. */
export function lostAtWork(what: string, cause?: unknown): AttemptError {
  const { failure, reason } = lostReplica(what, cause);
  return new AttemptError(failure, reason, true);
}

/**
 * An answer that is no success, as an attempt's error.
 * @param text of its body
 */
export function failedAnswer(status: number, text: string): AttemptError {
  const reason = parseErrorBody(text);
  if (status === 401 || status === 403) {
    const whose = reason === null ? 'the platform did not let the gateway in' : reason.message;
    return new AttemptError(
      'final',
      new ServeError(
        'backend_unavailable',
        'The gateway may not use its replicas; its log says why.',
        {
          cause: new Error(`${whose} (HTTP ${status}): compare the fleet keys and the platform's`),
        },
      ),
    );
  }
  if (reason !== null) return new AttemptError(failureOf(reason), reason);
  // The platform's own words: it has no replica up, or cannot reach it.
  if (status === 429 || status === 503) {
    const loading = new ServeError('model_loading', 'No replica is up yet. Retry in a moment.');
    return new AttemptError('cold', loading);
  }
  return lostReplica(`could not be reached (HTTP ${status})`);
}

function parseErrorBody(text: string): ServeError | null {
  try {
    const { error } = JSON.parse(text) as { readonly error?: Record<string, unknown> };
    const { code, message, param } = error ?? {};
    if (typeof code !== 'string' || typeof message !== 'string') return null;
    if (!ServeError.isCode(code)) return null;
    return new ServeError(code, message, { param: typeof param === 'string' ? param : null });
  } catch {
    return null;
  }
}
