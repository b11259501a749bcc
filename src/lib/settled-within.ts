import type { Clock } from './clock.ts';

/** What a wait that took too long gives. */
export const LATE: unique symbol = Symbol('late');

/** Waits for `promise` at most `ms`; the timer never outlives the wait. */
export async function settledWithin<T>(
  promise: Promise<T>,
  ms: number,
  clock: Clock,
): Promise<T | typeof LATE> {
  const timer = new AbortController();
  const late = clock.sleep(ms, timer.signal).then((): typeof LATE => LATE);
  // When the promise fails first, nobody waits for the timer's end.
  late.catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
