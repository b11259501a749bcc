/** Shares a line of a fixed width among all who send on it. */
export interface Pacer {
  /** Resolves when `bytes` more may be on their way. */
  take(bytes: number): Promise<void>;
}

/** A line unused for longer than this is idle: what it could have carried is lost. */
const IDLE_MS = 50;

/** Timers tick in milliseconds: below one it is better to be early, and to wait the next time. */
const TICK_MS = 1;

/**
 * Books every piece on one schedule, so that late timers are caught up with and the mean is exact,
 * however many connections there are.
 * @param bytesPerSecond Infinity: no limit
 */
export function createPacer(bytesPerSecond: number): Pacer {
  let freeAtMs = 0;
  return {
    async take(bytes) {
      if (bytesPerSecond === Infinity) return;
      const nowMs = performance.now();
      const startMs = nowMs - freeAtMs > IDLE_MS ? nowMs : freeAtMs;
      freeAtMs = startMs + (bytes / bytesPerSecond) * 1000;
      const waitMs = freeAtMs - nowMs;
      if (waitMs > TICK_MS) await new Promise((resolve) => setTimeout(resolve, waitMs));
    },
  };
}
