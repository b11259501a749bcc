import type { Clock } from '../../../lib/clock.ts';

/**
 * Runs `task` until it is done, or late: then its signal aborts.
 * @param ms null: never late
 * @returns what it does; null when it was late
 * @throws what the task does, unless it was late; the signal's reason
 */
export async function withinMs<T>(
  clock: Clock,
  ms: number | null,
  task: (signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): Promise<T | null> {
  signal?.throwIfAborted();
  if (ms !== null && ms <= 0) return null;
  const timer = new AbortController();
  const late = new AbortController();
  if (ms !== null) {
    clock.sleep(ms, timer.signal).then(
      () => late.abort(new DOMException('too late', 'TimeoutError')),
      () => undefined,
    );
  }
  try {
    return await task(signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]));
  } catch (error) {
    signal?.throwIfAborted();
    if (late.signal.aborted) return null;
    throw error;
  } finally {
    timer.abort();
  }
}
