/** Bounds how many tasks run at once; the others wait in order. */
export interface Semaphore {
  /**
   * Waits for free places, runs `task` and frees them when it settles.
   * @param places how many it takes, 1 by default; who wants more than there are takes all
   * @throws the signal's reason when it aborts before the task started
   */
  run<T>(task: () => Promise<T>, signal?: AbortSignal, places?: number): Promise<T>;
}

/** @param limit tasks that may run at once, >= 1 */
export function createSemaphore(limit: number): Semaphore {
  if (!Number.isInteger(limit) || limit < 1) {
    throw new RangeError(`A semaphore needs at least one place, got ${limit}.`);
  }
  let free = limit;
  // In order of arrival: who wants many places is not overtaken by those who want few.
  const waiting = new Set<{ readonly places: number; start(): void }>();

  function startWaiting(): void {
    for (const waiter of waiting) {
      if (waiter.places > free) return;
      free -= waiter.places;
      waiting.delete(waiter);
      waiter.start();
    }
  }

  async function acquire(places: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (waiting.size === 0 && places <= free) {
      free -= places;
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const waiter = {
        places,
        start(): void {
          signal?.removeEventListener('abort', abort);
          resolve();
        },
      };
      const abort = (): void => {
        waiting.delete(waiter);
        reject(signal?.reason);
        startWaiting();
      };
      waiting.add(waiter);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  return {
    async run<T>(task: () => Promise<T>, signal?: AbortSignal, wanted = 1): Promise<T> {
      const places = Math.min(wanted, limit);
      await acquire(places, signal);
      try {
        return await task();
      } finally {
        free += places;
        startWaiting();
      }
    },
  };
}
