import type { Completer, ModelCard } from '../completer.ts';
import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import { progressText } from '../load-progress.ts';
import { COLD_RETRY_MS } from './error-response.ts';

/** What requests meet while the model is not loaded. */
export interface ColdTiming {
  /** Milliseconds for which an answer that is no stream waits for the model before 503. */
  readonly holdMs: number;
}

/** One request's patience with a model that is not loaded. */
export interface Hold {
  /** @throws ServeError model_loading when it takes too long; what the description failed with */
  card(): Promise<ModelCard>;
  /**
   * Waits for the model, which it makes load.
   * @throws ServeError model_loading when it takes too long; what the load failed with
   */
  ready(): Promise<void>;
}

export interface HoldOptions {
  readonly completer: Completer;
  readonly clock: Clock;
  readonly cold: ColdTiming;
}

/** Bounds of what a refused client is told to wait; clients ignore longer waits. */
const SHORTEST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;

const LATE = Symbol('late');

/** @param signal the client's; its leaving ends the waiting, never the load */
export function createHold({ completer, clock, cold }: HoldOptions, signal: AbortSignal): Hold {
  const deadlineMs = clock.now() + cold.holdMs;

  async function wait<T>(start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const over = new AbortController();
    const pending = start(AbortSignal.any([signal, over.signal]));
    const late = clock
      .sleep(Math.max(0, deadlineMs - clock.now()), over.signal)
      .then((): typeof LATE => LATE);
    try {
      const result = await Promise.race([pending, late]);
      if (result === LATE) throw stillLoading(completer);
      return result;
    } finally {
      over.abort();
    }
  }

  return {
    async card() {
      const describe = completer.describe?.bind(completer);
      return describe === undefined || !isCold(completer) ? completer.model : wait(describe);
    },
    async ready() {
      const load = completer.ready?.bind(completer);
      if (load !== undefined && isCold(completer)) await wait(load);
    },
  };
}

/** Whether the next request waits for the model. */
export function isCold({ state }: Completer): boolean {
  return state === 'idle' || state === 'loading';
}

/** What a stream's comments say while it waits. */
export function waitingText(completer: Completer): string {
  const progress = isCold(completer) ? (completer.progress?.() ?? null) : null;
  return progress === null ? 'waiting' : progressText(progress);
}

function stillLoading(completer: Completer): ServeError {
  const progress = completer.progress?.() ?? null;
  const waitMs = completer.readyInMs?.() ?? progress?.etaMs ?? COLD_RETRY_MS;
  const far = progress === null ? '' : ` (${progressText(progress)})`;
  return new ServeError(
    'model_loading',
    `The model is still loading${far}. Retry later, stream the answer, or send the header Prefer: respond-async.`,
    { retryAfterMs: Math.min(LONGEST_RETRY_MS, Math.max(SHORTEST_RETRY_MS, waitMs)) },
  );
}
