import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SessionLease, SessionTable } from '../../src/fleet/session-table.ts';

/** A table under test, empty at first. */
export interface SessionTableSetup {
  readonly table: SessionTable;
  /** How it was made: pins are forgotten after `idleMs`, forgotten turns end after `leaseMs`. */
  readonly idleMs: number;
  readonly leaseMs: number;
  /** Moves the table's time on; absent where it cannot be moved, and what needs it is left out. */
  advance?(ms: number): Promise<void> | void;
  dispose(): Promise<void>;
}

const SESSION = '0123456789abcdef0123456789abcdef';
const OTHER = 'fedcba9876543210fedcba9876543210';

/** Cases that every `SessionTable` passes. @param hasTime whether the setup can move time on */
export function describeSessionTable(
  name: string,
  make: () => Promise<SessionTableSetup>,
  hasTime: boolean,
): void {
  describe(`${name} as a SessionTable`, () => {
    let setup: SessionTableSetup;
    let table: SessionTable;
    beforeEach(async () => {
      setup = await make();
      ({ table } = setup);
    });
    afterEach(() => setup.dispose());

    it('knows no pin at first, keeps the last one, and forgets it when told', async () => {
      expect(await table.pin(SESSION)).toBeNull();
      await table.keep(SESSION, 'one');
      await table.keep(SESSION, 'two');
      expect(await table.pin(SESSION)).toBe('two');
      expect(await table.pin(OTHER)).toBeNull();
      await table.keep(SESSION, null);
      expect(await table.pin(SESSION)).toBeNull();
    });

    it('keeps a pin as it is', async () => {
      const pin = `boot-1 "ü", 💎 ${'x'.repeat(4_000)}\\`;
      await table.keep(SESSION, pin);
      expect(await table.pin(SESSION)).toBe(pin);
    });

    it('gives a turn the pin of the turn before', async () => {
      const first = await table.begin(SESSION);
      expect(first.pin).toBeNull();
      await first.release('one');
      const second = await table.begin(SESSION);
      expect(second.pin).toBe('one');
      await second.release(null);
      const third = await table.begin(SESSION);
      expect(third.pin).toBeNull();
      await third.release(null);
    });

    it('runs the turns of a session one after the other, in order', async () => {
      const order: number[] = [];
      const first = await table.begin(SESSION);
      const turns: Promise<void>[] = [];
      for (const turn of [1, 2, 3]) {
        const waiting = table.begin(SESSION).then(async (lease) => {
          order.push(turn);
          expect(lease.pin).toBe(`pin ${turn - 1}`);
          await lease.release(`pin ${turn}`);
        });
        turns.push(waiting);
        // Over a network, only what was sent one after the other has an order.
        await table.pin(SESSION);
      }
      expect(order).toEqual([]);
      await first.release('pin 0');
      await Promise.all(turns);
      expect(order).toEqual([1, 2, 3]);
    });

    it('does not let one session wait for another', async () => {
      const first = await table.begin(SESSION);
      const other = await table.begin(OTHER);
      await other.release('other');
      await first.release('one');
      expect(await table.pin(SESSION)).toBe('one');
      expect(await table.pin(OTHER)).toBe('other');
    });

    it('lets whoever waits leave, and the next one in', async () => {
      const first = await table.begin(SESSION);
      const leaves = new AbortController();
      const left = table.begin(SESSION, leaves.signal);
      const stays = table.begin(SESSION);
      leaves.abort(new Error('enough'));
      await expect(left).rejects.toThrow('enough');
      await first.release('one');
      const lease = await stays;
      expect(lease.pin).toBe('one');
      await lease.release('two');
      const last = await table.begin(SESSION);
      await last.release('three');
    });

    it('begins nothing for who has left already', async () => {
      const reason = new Error('too late');
      await expect(table.begin(SESSION, AbortSignal.abort(reason))).rejects.toThrow('too late');
      await (await table.begin(SESSION)).release(null);
    });

    it('counts only the first release', async () => {
      const first = await table.begin(SESSION);
      await first.release('one');
      const second = await table.begin(SESSION);
      await first.release('stale');
      let hasThird = false;
      const third = table.begin(SESSION).then((lease) => {
        hasThird = true;
        return lease;
      });
      await table.pin(SESSION);
      expect(hasThird).toBe(false);
      await second.release('two');
      const lease = await third;
      expect(lease.pin).toBe('two');
      await lease.release(null);
    });

    it('runs many sessions of many turns without mixing them up', async () => {
      const running = new Map<string, number>();
      const turn = async (session: string): Promise<void> => {
        const lease = await table.begin(session);
        const now = (running.get(session) ?? 0) + 1;
        running.set(session, now);
        expect(now).toBe(1);
        const count = Number(lease.pin ?? '0');
        await table.pin(session);
        running.set(session, 0);
        await lease.release(String(count + 1));
      };
      const sessions = Array.from({ length: 8 }, (_, at) => `session-${at}`);
      await Promise.all(
        sessions.flatMap((session) => Array.from({ length: 6 }, () => turn(session))),
      );
      for (const session of sessions) expect(await table.pin(session)).toBe('6');
    });

    describe.runIf(hasTime)('as time passes', () => {
      const advance = async (ms: number): Promise<void> => {
        if (setup.advance === undefined) throw new Error('the setup cannot move time on');
        await setup.advance(ms);
      };

      it('forgets a pin that was idle too long, and not one in use', async () => {
        await table.keep(SESSION, 'idle');
        await table.keep(OTHER, 'used');
        await advance(setup.idleMs / 2);
        await table.keep(OTHER, 'used');
        await advance(setup.idleMs / 2 + 1);
        expect(await table.pin(SESSION)).toBeNull();
        expect(await table.pin(OTHER)).toBe('used');
        const lease = await table.begin(SESSION);
        expect(lease.pin).toBeNull();
        await lease.release(null);
      });

      it('goes on after a holder that died, whose late release counts for nothing', async () => {
        const dead = await table.begin(SESSION);
        const waiting: Promise<SessionLease> = table.begin(SESSION);
        await table.pin(SESSION);
        await advance(setup.leaseMs + 1);
        const next = await waiting;
        await dead.release('stale');
        expect(await table.pin(SESSION)).toBeNull();
        await next.release('fresh');
        expect(await table.pin(SESSION)).toBe('fresh');
      });
    });
  });
}
