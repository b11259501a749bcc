/** Bounds how many tasks run at once; the others wait in order. */
export interface Semaphore {
  /**
   * Waits for a free place, runs `task` and frees the place when it settles.
   * @throws the signal's reason when it aborts before the task started
   */
  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

/** @param limit tasks that may run at once, >= 1 */
export function createSemaphore(limit: number): Semaphore {
  if (!Number.isInteger(limit) || limit < 1) {
    throw new RangeError(`A semaphore needs at least one place, got ${limit}.`);
  }
  let running = 0;
  // In order of arrival; each entry starts one waiter, which then owns a place.
  const waiting = new Set<() => void>();

  function release(): void {
    for (const start of waiting) {
      // The place passes on as it is, so nobody who comes now can overtake.
      waiting.delete(start);
      start();
      return;
    }
    running -= 1;
  }

  async function acquire(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (running < limit) {
      running += 1;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const start = (): void => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = (): void => {
        waiting.delete(start);
        reject(signal?.reason);
      };
      waiting.add(start);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  return {
    async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
      await acquire(signal);
      try {
        return await task();
      } finally {
        release();
      }
    },
  };
}
