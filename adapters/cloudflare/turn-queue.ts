import type { Clock } from '../../src/lib/clock.ts';

/** One turn after the other, in the order they came. */
export interface TurnQueue {
  /** Whether some turn runs. */
  readonly isBusy: boolean;
  /**
   * Waits until `turn` may start.
   * @returns false when that takes too long: ask again soon, and the turn keeps its place
   */
  begin(turn: string): Promise<boolean>;
  /** Says that the turn goes on; false when it does not hold the lease any more. */
  renew(turn: string): boolean;
  /** Ends the turn, or its waiting. */
  leave(turn: string): void;
  /** Whether another turn than this one runs. */
  isTaken(turn: string): boolean;
}

/** Milliseconds after which a turn that is not renewed is over: whoever held it is gone. */
export const LEASE_MS = 15_000;
/** Milliseconds that `begin` waits; shorter than platforms cut silence off. */
const HOLD_MS = 10_000;
/** Milliseconds within which a turn must ask again to keep its place. */
const PLACE_MS = 2_000;

interface Waiter {
  readonly turn: string;
  readonly wake: () => void;
  /** When its place is lost. */
  readonly untilMs: number;
}

export function createTurnQueue(clock: Clock): TurnQueue {
  let lease: { readonly turn: string; untilMs: number } | null = null;
  let waiting: Waiter[] = [];

  function forgetGone(): void {
    const nowMs = clock.now();
    if (lease !== null && lease.untilMs <= nowMs) lease = null;
    waiting = waiting.filter(({ untilMs }) => untilMs > nowMs);
  }

  function isTaken(turn: string): boolean {
    forgetGone();
    return lease !== null && lease.turn !== turn;
  }

  function isNext(turn: string): boolean {
    if (isTaken(turn)) return false;
    // Asked again by who did not hear the answer.
    if (lease !== null) return true;
    return (waiting[0] ?? { turn }).turn === turn;
  }

  function drop(turn: string): void {
    waiting = waiting.filter((waiter) => waiter.turn !== turn);
  }

  /** Until something may have changed. */
  async function sleep(turn: string, deadlineMs: number): Promise<void> {
    const woken = new Promise<void>((wake) => {
      const waiter = { turn, wake, untilMs: deadlineMs + PLACE_MS };
      const at = waiting.findIndex((each) => each.turn === turn);
      if (at < 0) waiting.push(waiter);
      else waiting[at] = waiter;
    });
    const ends = [deadlineMs, lease?.untilMs ?? deadlineMs, waiting[0]?.untilMs ?? deadlineMs];
    const timer = new AbortController();
    const over = clock.sleep(Math.max(1, Math.min(...ends) - clock.now()), timer.signal);
    await Promise.race([woken, over.catch(() => undefined)]);
    timer.abort();
  }

  return {
    get isBusy() {
      forgetGone();
      return lease !== null;
    },
    async begin(turn) {
      const deadlineMs = clock.now() + HOLD_MS;
      while (!isNext(turn)) {
        if (clock.now() >= deadlineMs) return false;
        await sleep(turn, deadlineMs);
      }
      drop(turn);
      lease = { turn, untilMs: clock.now() + LEASE_MS };
      return true;
    },
    renew(turn) {
      forgetGone();
      if (lease?.turn !== turn) return false;
      lease.untilMs = clock.now() + LEASE_MS;
      return true;
    },
    leave(turn) {
      drop(turn);
      if (lease?.turn === turn) lease = null;
      forgetGone();
      waiting[0]?.wake();
    },
    isTaken,
  };
}
