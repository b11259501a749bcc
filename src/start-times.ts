import type { Clock } from './lib/clock.ts';

/** How long something took to come up the last times, and so how long it may still take. */
export interface StartTimes {
  /** It is waited for and not up; said again and again, or once for the whole wait. */
  waiting(): void;
  /** It is up. */
  up(): void;
  /** It will not come up; how long that took tells nothing. */
  failed(): void;
  /** Milliseconds; null where no start was measured, none is under way, or it takes longer than ever. */
  remainingMs(): number | null;
}

/** Starts that are remembered; the longest of them counts, since clients that are late lose less than early ones. */
const KEPT = 4;
/** What is up answers sooner: that was no start. */
const SHORTEST_MS = 1_000;

/** @param silenceMs after which nobody waits any more unless `waiting` was said again; default never */
export function createStartTimes(
  clock: Clock,
  silenceMs: number = Number.POSITIVE_INFINITY,
): StartTimes {
  let tookMs: readonly number[] = [];
  let begunMs: number | null = null;
  let saidMs = 0;
  const isUnderWay = (): boolean => begunMs !== null && clock.now() - saidMs <= silenceMs;
  const elapsedMs = (): number => clock.now() - (begunMs ?? 0);
  return {
    waiting() {
      if (!isUnderWay()) begunMs = clock.now();
      saidMs = clock.now();
    },
    up() {
      if (isUnderWay() && elapsedMs() >= SHORTEST_MS) {
        tookMs = [...tookMs, elapsedMs()].slice(-KEPT);
      }
      begunMs = null;
    },
    failed() {
      begunMs = null;
    },
    remainingMs() {
      if (!isUnderWay() || tookMs.length === 0) return null;
      const leftMs = Math.max(...tookMs) - elapsedMs();
      return leftMs > 0 ? leftMs : null;
    },
  };
}
