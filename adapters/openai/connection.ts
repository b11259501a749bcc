import type { CompleterState } from '../../src/completer.ts';
import { ServeError, type ErrorCode } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { LATE, settledWithin } from '../../src/lib/settled-within.ts';
import { createProgressMeter, type LoadProgress } from '../../src/load-progress.ts';
import { createStartTimes } from '../../src/start-times.ts';
import { describeUpstream, HEALTH, type DescribeUpstreamOptions, type Upstream } from './card.ts';
import { lost } from './fault.ts';

/** What is known of the server, and the one wait for it, however many wait. */
export interface Connection {
  /** `idle`: nobody knows how it is; the next request finds out. */
  readonly state: Extract<CompleterState, 'idle' | 'loading' | 'ready'>;
  /** null until it was reached for the first time. */
  readonly upstream: Upstream | null;
  /** While it is waited for; servers do not tell how far they are. */
  progress(): LoadProgress | null;
  /** Milliseconds until it is up, by how long that took before; null where that tells nothing. */
  readyInMs(): number | null;
  /**
   * What it is, once it takes requests; asks only while that is not known.
   * @throws ServeError model_loading after too long; backend_unavailable when it will not do
   */
  connected(signal?: AbortSignal): Promise<Upstream>;
  /** A request found it gone or loading. */
  noteDown(): void;
  close(): void;
}

export interface ConnectionOptions extends DescribeUpstreamOptions {
  readonly clock: Clock;
  /** Milliseconds that a server which cannot be reached, or loads, is waited for. */
  readonly coldMs: number;
  /** Hears why it is waited for; must not throw. */
  readonly onDown?: (error: ServeError) => void;
}

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5_000;
const ANSWER_MS = 10_000;
/** A server that says one of these may be up later, as may one that says nothing. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'model_loading',
  'draining',
  'queue_full',
  'upstream_unavailable',
]);

export function createConnection(options: ConnectionOptions): Connection {
  const { clock, link, coldMs } = options;
  const stop = new AbortController();
  let upstream: Upstream | null = null;
  let isReady = false;
  let waiting: Promise<Upstream> | null = null;
  let progress: LoadProgress | null = null;
  const starts = createStartTimes(clock);

  async function look(): Promise<Upstream> {
    const over = new AbortController();
    const signal = AbortSignal.any([stop.signal, over.signal]);
    try {
      const looking = lookOnce(signal);
      looking.catch(() => undefined); // it fails when given up
      const found = await settledWithin(looking, ANSWER_MS, clock);
      if (found === LATE) throw lost(`did not answer for ${ANSWER_MS / 1000} s`);
      return found;
    } finally {
      over.abort();
    }
  }

  async function lookOnce(signal: AbortSignal): Promise<Upstream> {
    const found = upstream ?? (await describeUpstream(options, signal));
    // Below a path that a platform puts before the API there may be no health route.
    if (await link.probe(HEALTH[found.kind], signal)) return found;
    await link.get('/v1/models', signal);
    return found;
  }

  async function wait(): Promise<Upstream> {
    progress = createProgressMeter(clock).read();
    starts.waiting();
    const deadlineMs = clock.now() + coldMs;
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
      try {
        upstream = await look();
        isReady = true;
        starts.up();
        return upstream;
      } catch (error) {
        stop.signal.throwIfAborted();
        if (!ServeError.is(error) || !PASSING.has(error.code)) throw error;
        options.onDown?.(error);
        if (clock.now() >= deadlineMs) throw tooLate(coldMs, error);
        await clock.sleep(waitMs, stop.signal);
      }
    }
  }

  return {
    get state() {
      if (isReady) return 'ready';
      return waiting === null ? 'idle' : 'loading';
    },
    get upstream() {
      return upstream;
    },
    progress: () => progress,
    readyInMs: () => starts.remainingMs(),
    connected(signal) {
      if (isReady && upstream !== null) return Promise.resolve(upstream);
      if (waiting === null) {
        waiting = wait().finally(() => {
          waiting = progress = null;
          starts.failed(); // unless it is up
        });
        // Those who wait get it; all may have left.
        waiting.catch(() => undefined);
      }
      return abortable(waiting, signal);
    },
    noteDown() {
      isReady = false;
    },
    close: () => stop.abort(new ServeError('draining', 'The server is closed.')),
  };
}

function tooLate(coldMs: number, cause: ServeError): ServeError {
  return new ServeError(
    'model_loading',
    `The engine behind this server did not come up within ${Math.round(coldMs / 1000)} s. Retry later.`,
    { retryAfterMs: 60_000, cause },
  );
}
