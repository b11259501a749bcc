import { systemClock } from '../../src/lib/clock.ts';
import type { Clock } from '../../src/lib/clock.ts';

export interface StallClock extends Pick<Clock, 'sleep'> {
  /** Pauses between attempts so far, in milliseconds; each was over at once. */
  readonly pauses: number[];
  /** What watchdogs were told to wait so far, in milliseconds. */
  readonly watches: number[];
  /**
   * Until so many pauses are noted, silence is found out within milliseconds; then never. Raised
   * when the silent request has come, so that no attempt before it is taken for silent.
   */
  impatientUntil: number;
}

/** How long a watchdog waits while the clock is impatient, in milliseconds. */
const LOOK_MS = 40;

/**
 * A clock for transfers: pauses are noted and over at once, watchdogs only bite when a test wants
 * them to, so that a busy machine is not taken for a stalled server.
 * @param stallMs the store's own; longer than any pause: sleeps of at least this are a watchdog's
 */
export function createStallClock(stallMs = 30_000): StallClock {
  const pauses: number[] = [];
  const watches: number[] = [];
  const clock: StallClock = {
    pauses,
    watches,
    impatientUntil: 0,
    async sleep(ms, signal) {
      signal?.throwIfAborted();
      if (ms < stallMs) {
        pauses.push(ms);
        return;
      }
      watches.push(ms);
      do await systemClock.sleep(LOOK_MS, signal);
      while (pauses.length >= clock.impatientUntil);
    },
  };
  return clock;
}
