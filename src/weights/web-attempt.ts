import { ServeError } from '../errors.ts';

/** How long to wait, and how to. */
export interface Patience {
  /** Resolves after `ms`; rejects with the signal's reason on abort. */
  readonly sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** An attempt in which nothing arrives for this long is given up, in milliseconds. */
  readonly stallMs: number;
}

/** A failure that may pass: the attempt is repeated. */
export class PassingFailure extends Error {
  /** The server's own wish, in milliseconds; null when it has none. */
  readonly retryAfterMs: number | null;

  constructor(message: string, options: { cause?: unknown; retryAfterMs?: number | null } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** Failures in a row without a byte of progress before we give up. */
const MAX_FAILURES = 6;
/** Failures of one read in all, so that a server that sends crumbs cannot hold us forever. */
const MAX_TOTAL_FAILURES = 40;
const FIRST_BACK_OFF_MS = 250;
const MAX_BACK_OFF_MS = 8000;
const MAX_RETRY_AFTER_MS = 60_000;

/**
 * Runs one attempt under a watchdog: it must call `alive` whenever something arrives, and gets a
 * signal that also ends its transfers when the attempt is over.
 * @throws PassingFailure on silence and network errors; the signal's reason on abort
 */
export async function runAttempt<T>(
  patience: Patience,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal, alive: () => void) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const attemptSignal = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  let signs = 0;
  const watch = async (): Promise<void> => {
    for (let seen = -1; seen !== signs;) {
      seen = signs;
      await patience.sleep(patience.stallMs, attemptSignal);
    }
    stop.abort(new PassingFailure(`nothing arrived for ${patience.stallMs} ms`));
  };
  // It rejects when the attempt ends before it fires: nothing to report.
  watch().catch(() => undefined);
  try {
    return await run(attemptSignal, () => {
      signs++;
    });
  } catch (error) {
    signal?.throwIfAborted();
    stop.signal.throwIfAborted();
    if (error instanceof PassingFailure || ServeError.is(error)) throw error;
    throw new PassingFailure('the connection failed', { cause: error });
  } finally {
    stop.abort();
  }
}

/**
 * Repeats `attempt` after passing failures, with growing pauses.
 * @param progress grows as bytes arrive; progress forgives earlier failures
 * @param what for messages, such as `https://host/model: config.json`
 * @throws ServeError weights_unavailable when patience ends
 */
export async function retrying<T>(
  patience: Patience,
  what: string,
  progress: () => number,
  attempt: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let failures = 0;
  for (let total = 1; ; total++) {
    const before = progress();
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof PassingFailure)) throw error;
      failures = progress() > before ? 1 : failures + 1;
      if (failures >= MAX_FAILURES || total >= MAX_TOTAL_FAILURES) {
        throw new ServeError(
          'weights_unavailable',
          `${what}: ${error.message}, after ${total} attempts; check the network and the server, then start again`,
          { cause: error },
        );
      }
      const backOffMs = Math.min(FIRST_BACK_OFF_MS * 2 ** (failures - 1), MAX_BACK_OFF_MS);
      const askedMs = Math.min(error.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS);
      await patience.sleep(Math.max(backOffMs, askedMs), signal);
    }
  }
}
