import type { SessionLease, SessionTable } from '../../src/fleet/session-table.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { ObjectNamespaceLike } from './bindings.ts';
import type { SessionAnswer, SessionCall } from './session-object.ts';
import { LEASE_MS } from './turn-queue.ts';

export interface DurableSessionsOptions {
  /** The binding of `SessionObject`, such as `env.SESSIONS`. */
  readonly namespace: ObjectNamespaceLike;
  readonly clock: Clock;
  /** Milliseconds after its last turn at which a session is forgotten. */
  readonly idleMs: number;
  /** Hears of objects that cannot be reached; must not throw. */
  readonly onError: (error: unknown) => void;
}

/** Not a real address: the object sees the body only. */
const URL_OF_OBJECT = 'https://session.invalid/';
const TRIES = 3;
const UNKNOWN: SessionAnswer = { pin: null, isHeld: false };

/**
 * A {@link SessionTable} of Durable Objects, one for each session, found by its name wherever the
 * request comes in. Where an object cannot be reached, the turn goes on without pin and lease.
 */
export function createDurableSessions(options: DurableSessionsOptions): SessionTable {
  const { namespace, clock, idleMs, onError } = options;

  async function ask(
    session: string,
    call: SessionCall,
    signal?: AbortSignal,
  ): Promise<SessionAnswer> {
    const body = JSON.stringify(call);
    for (let tries = 1; ; tries++) {
      try {
        // A stub that failed is broken for good.
        const stub = namespace.get(namespace.idFromName(session));
        const init = { method: 'POST', body, ...(signal === undefined ? {} : { signal }) };
        const response = await stub.fetch(URL_OF_OBJECT, init);
        if (response.ok) return (await response.json()) as SessionAnswer;
        throw new Error(`the session object answered ${response.status}`);
      } catch (error) {
        signal?.throwIfAborted();
        if (tries < TRIES) continue;
        onError(error);
        return UNKNOWN;
      }
    }
  }

  /** Until the turn ends, or its lease is lost. */
  async function renew(session: string, turn: string, signal: AbortSignal): Promise<void> {
    try {
      let isHeld = true;
      while (isHeld) {
        await clock.sleep(LEASE_MS / 3, signal);
        ({ isHeld } = await ask(session, { op: 'renew', turn }, signal));
      }
    } catch {
      // The turn has ended.
    }
  }

  return {
    pin: async (session, signal) => (await ask(session, { op: 'pin' }, signal)).pin,
    async keep(session, pin) {
      await ask(session, { op: 'keep', pin, idleMs });
    },
    async begin(session, signal): Promise<SessionLease> {
      signal?.throwIfAborted();
      const turn = crypto.randomUUID();
      let answer: SessionAnswer;
      try {
        do {
          answer = await ask(session, { op: 'begin', turn }, signal);
        } while (!answer.isHeld && answer !== UNKNOWN);
      } catch (error) {
        // The turn may have been granted without our hearing of it.
        await ask(session, { op: 'leave', turn });
        throw error;
      }
      const over = new AbortController();
      if (answer !== UNKNOWN) void renew(session, turn, over.signal);
      return {
        pin: answer.pin,
        async release(pin) {
          if (over.signal.aborted) return;
          over.abort();
          await ask(session, { op: 'release', turn, pin, idleMs });
        },
      };
    },
  };
}
