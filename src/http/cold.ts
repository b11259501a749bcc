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
   * Waits for the model, which it makes load. One that is there may turn out to be gone, as a fleet does that
   * has just gone to zero: with `begun` it waits until that aborts, which says that the answer has begun.
   * @throws ServeError model_loading when it takes too long; what the load failed with
   */
  ready(begun?: AbortSignal): Promise<void>;
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
    async ready(begun) {
      const load = completer.ready?.bind(completer);
      if (load === undefined) return;
      if (isCold(completer)) return wait(load);
      if (begun === undefined) return;
      const over = AbortSignal.any([signal, begun]);
      await clock.sleep(Math.max(0, deadlineMs - clock.now()), over).catch(() => undefined);
      if (!over.aborted && isCold(completer)) throw stillLoading(completer);
    },
  };
}

/**
 * Runs what may need the model: as far as it gets while that loads, but only so long.
 * @param start calls `onStart` when it no longer waits
 * @throws what `start` throws, ServeError model_loading
 */
export async function runWithin<T>(
  hold: Hold,
  abort: AbortController,
  start: (onStart: () => void) => Promise<T>,
): Promise<T> {
  const begun = new AbortController();
  const running = start(() => begun.abort()).finally(() => begun.abort());
  const ready = hold.ready(begun.signal);
  ready.catch(() => undefined);
  try {
    await Promise.race([ready, running]);
  } catch (error) {
    abort.abort(error);
    await running.catch(() => undefined);
    throw error;
  }
  return running;
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
