/**
 * Runs `task(0)` to `task(count - 1)`, at most `limit` at a time. After a failure no further task
 * starts, the others are told by their signal, and the call rejects once none runs any more: no
 * buffer is written behind the caller's back.
 */
export async function runBounded(
  count: number,
  limit: number,
  task: (index: number, signal: AbortSignal) => Promise<void>,
  signal?: AbortSignal,
): Promise<void> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const combined = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count && !combined.aborted) {
      const index = next++;
      try {
        await task(index, combined);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    }
  };
  const lanes = Array.from({ length: Math.min(limit, count) }, lane);
  const results = await Promise.allSettled(lanes);
  signal?.throwIfAborted();
  // The signal's reason is the first failure; later ones are usually its echo.
  if (results.some((result) => result.status === 'rejected')) throw stop.signal.reason;
}
