import type { Clock } from '../../src/lib/clock.ts';

/** Lets one task of an isolate run at a time: all its requests share 128 MB. */
export interface IsolateSlot {
  /** @throws what the task throws; the signal's reason while it waits */
  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T>;
}

const WAIT_MS = 5;

/**
 * Waiting is looking again and again: a request that waits for a promise of another one hangs when
 * that one is cut off, and then not even its `finally` runs.
 * @param longestMs after which the holder is taken for gone
 */
export function createIsolateSlot(clock: Clock, longestMs: number): IsolateSlot {
  let holder: { readonly untilMs: number } | null = null;
  const isFree = (): boolean => holder === null || holder.untilMs <= clock.now();
  return {
    async run(task, signal) {
      while (!isFree()) await clock.sleep(WAIT_MS, signal);
      const mine = { untilMs: clock.now() + longestMs };
      holder = mine;
      try {
        return await task();
      } finally {
        if (holder === mine) holder = null;
      }
    },
  };
}
