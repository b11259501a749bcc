import type { Clock } from '../lib/clock.ts';
import type { SessionLease, SessionTable } from './session-table.ts';

export interface MemorySessionsOptions {
  readonly clock: Clock;
  /** Sessions whose pins are kept; the ones unused longest go first. Default 100,000. */
  readonly maxSessions?: number;
  /** Milliseconds without a turn after which a pin is forgotten; default 1 hour. */
  readonly idleMs?: number;
  /** Milliseconds after which a turn that was not released ends by itself; default 1 hour. */
  readonly leaseMs?: number;
}

interface Turn {
  /** Its place in the queue is before all that came later; null once it runs. */
  start: (() => void) | null;
}

const HOUR_MS = 60 * 60_000;

/**
 * Sessions of this process alone. Turns of a session run in the order they came; here a holder lives
 * until it releases, so that a lease runs out only where one was forgotten.
 */
export function createMemorySessionTable(options: MemorySessionsOptions): SessionTable {
  const { clock } = options;
  const maxSessions = atLeastOne('maxSessions', options.maxSessions ?? 100_000);
  const idleMs = atLeastOne('idleMs', options.idleMs ?? HOUR_MS);
  const leaseMs = atLeastOne('leaseMs', options.leaseMs ?? HOUR_MS);
  /** In order of use, the one unused longest first. */
  const pins = new Map<string, { readonly pin: string; readonly usedMs: number }>();
  /** The first of a session's turns runs. Not bounded by maxSessions: each is a request in progress. */
  const turns = new Map<string, Set<Turn>>();

  function read(session: string): string | null {
    const entry = pins.get(session);
    if (entry === undefined) return null;
    if (clock.now() - entry.usedMs < idleMs) return entry.pin;
    pins.delete(session);
    return null;
  }

  function write(session: string, pin: string | null): void {
    pins.delete(session);
    if (pin === null) return;
    const nowMs = clock.now();
    pins.set(session, { pin, usedMs: nowMs });
    for (const [oldest, { usedMs }] of pins) {
      if (pins.size <= maxSessions && nowMs - usedMs < idleMs) break;
      pins.delete(oldest);
    }
  }

  /** Ends a turn or takes it from the queue; the next one starts if it was the first. */
  function leave(session: string, queue: Set<Turn>, turn: Turn): void {
    queue.delete(turn);
    const [next] = queue;
    if (next === undefined) turns.delete(session);
    else if (next.start !== null) next.start();
  }

  function hold(session: string, queue: Set<Turn>, turn: Turn): SessionLease {
    const over = new AbortController();
    let isHeld = true;
    const end = (): void => {
      if (!isHeld) return;
      isHeld = false;
      over.abort();
      leave(session, queue, turn);
    };
    clock.sleep(leaseMs, over.signal).then(end, () => undefined);
    return {
      pin: read(session),
      async release(pin) {
        // What was learned after the lease ran out is older than what its successor learns.
        if (!isHeld) return;
        write(session, pin);
        end();
      },
    };
  }

  return {
    async pin(session) {
      return read(session);
    },
    async keep(session, pin) {
      write(session, pin);
    },
    async begin(session, signal) {
      signal?.throwIfAborted();
      const queue = turns.get(session) ?? new Set<Turn>();
      turns.set(session, queue);
      const turn: Turn = { start: null };
      queue.add(turn);
      if (queue.size > 1) {
        await new Promise<void>((resolve, reject) => {
          const onAbort = (): void => {
            leave(session, queue, turn);
            reject(signal?.reason);
          };
          turn.start = (): void => {
            turn.start = null;
            signal?.removeEventListener('abort', onAbort);
            resolve();
          };
          signal?.addEventListener('abort', onAbort, { once: true });
        });
      }
      return hold(session, queue, turn);
    },
  };
}

function atLeastOne(name: string, value: number): number {
  if (value >= 1) return value;
  throw new RangeError(`${name} is ${value}; it must be 1 or more`);
}
