import { type Clock, systemClock } from '../../src/lib/clock.ts';
import type { ObjectStateLike } from './bindings.ts';
import { createTurnQueue, type TurnQueue } from './turn-queue.ts';

/** What a Worker asks its session's object. */
export type SessionCall =
  | { readonly op: 'pin' }
  | { readonly op: 'keep'; readonly pin: string | null; readonly idleMs: number }
  /** `turn`: a name that the caller made up for it. */
  | { readonly op: 'begin'; readonly turn: string }
  | { readonly op: 'renew' | 'leave'; readonly turn: string }
  | {
      readonly op: 'release';
      readonly turn: string;
      readonly pin: string | null;
      readonly idleMs: number;
    };

export interface SessionAnswer {
  readonly pin: string | null;
  /** Of `begin`: whether the turn may start; ask again if not. Of others: whether it is still held. */
  readonly isHeld: boolean;
}

interface Stored {
  readonly pin: string;
  readonly usedMs: number;
  readonly idleMs: number;
}

const KEY = 'session';

/**
 * The Durable Object of one conversation: remembers where it was, and lets one turn after the other
 * run. Its alarm deletes all of it once it was idle for its time to live, so that nothing stays stored.
 *
 * Turns live in memory: an object that is moved to another machine forgets them, and two may then
 * overlap once, which costs a cache miss.
 */
export class SessionObject {
  readonly #state: ObjectStateLike;
  readonly #clock: Clock;
  readonly #turns: TurnQueue;
  #stored: Stored | null = null;

  /** @param clock for tests; Cloudflare passes the state and the environment, which is not used */
  constructor(state: ObjectStateLike, _env?: unknown, clock: Clock = systemClock) {
    this.#state = state;
    this.#clock = clock;
    this.#turns = createTurnQueue(clock);
    void state.blockConcurrencyWhile(async () => {
      this.#stored = ((await state.storage.get(KEY)) as Stored | undefined) ?? null;
    });
  }

  /** Reached by this Worker's own code only. */
  async fetch(request: Request): Promise<Response> {
    return Response.json(await this.#run((await request.json()) as SessionCall));
  }

  async alarm(): Promise<void> {
    const nowMs = this.#clock.now();
    const stored = this.#stored;
    if (stored !== null) {
      // A turn that takes longer than the time to live is still use.
      const usedMs = this.#turns.isBusy ? nowMs : stored.usedMs;
      if (usedMs + stored.idleMs > nowMs) {
        await this.#state.storage.setAlarm(usedMs + stored.idleMs);
        return;
      }
    }
    await this.#forget();
  }

  async #run(call: SessionCall): Promise<SessionAnswer> {
    const turns = this.#turns;
    switch (call.op) {
      case 'pin':
        return this.#answer(false);
      case 'keep':
        await this.#keep(call.pin, call.idleMs);
        return this.#answer(false);
      case 'begin':
        return this.#answer(await turns.begin(call.turn));
      case 'renew':
        return this.#answer(turns.renew(call.turn));
      case 'leave':
        turns.leave(call.turn);
        return this.#answer(false);
      case 'release': {
        // Whoever lost the lease must not overwrite the pin of the turn after it.
        const isHeld = !turns.isTaken(call.turn);
        turns.leave(call.turn);
        if (isHeld) await this.#keep(call.pin, call.idleMs);
        return this.#answer(isHeld);
      }
      default:
        return call satisfies never;
    }
  }

  #answer(isHeld: boolean): SessionAnswer {
    const stored = this.#stored;
    const isAlive = stored !== null && stored.usedMs + stored.idleMs > this.#clock.now();
    return { pin: isAlive ? stored.pin : null, isHeld };
  }

  async #keep(pin: string | null, idleMs: number): Promise<void> {
    if (pin === null) return this.#forget();
    const { storage } = this.#state;
    const usedMs = this.#clock.now();
    this.#stored = { pin, usedMs, idleMs };
    await storage.put(KEY, this.#stored);
    // One that comes too early sets itself anew, so that most turns write one row.
    if ((await storage.getAlarm()) === null) await storage.setAlarm(usedMs + idleMs);
    return undefined;
  }

  async #forget(): Promise<void> {
    this.#stored = null;
    await this.#state.storage.deleteAlarm();
    await this.#state.storage.deleteAll();
  }
}
