import { describe, expect, it } from 'vitest';
import { createMemorySessionTable } from '../../src/fleet/memory-sessions.ts';
import { describeSessionTable } from '../contracts/session-table.ts';
import { createFakeClock } from '../support/fake-clock.ts';

describeSessionTable(
  'memory sessions',
  async () => {
    const clock = createFakeClock();
    const [idleMs, leaseMs] = [60_000, 600_000];
    return {
      table: createMemorySessionTable({ clock, idleMs, leaseMs }),
      idleMs,
      leaseMs,
      advance: (ms) => clock.advance(ms),
      async dispose() {},
    };
  },
  true,
);

describe('memory sessions', () => {
  it('forget the session unused longest when there are too many', async () => {
    const table = createMemorySessionTable({ clock: createFakeClock(), maxSessions: 3 });
    for (const name of ['a', 'b', 'c']) await table.keep(name, `pin ${name}`);
    await table.keep('a', 'pin a');
    await table.keep('d', 'pin d');
    expect(await table.pin('b')).toBeNull();
    for (const name of ['a', 'c', 'd']) expect(await table.pin(name)).toBe(`pin ${name}`);
  });

  it('hold no timer for turns that ended', async () => {
    const clock = createFakeClock();
    const table = createMemorySessionTable({ clock });
    const first = await table.begin('a');
    const second = table.begin('a');
    expect(clock.sleeping()).toBe(1);
    await first.release('pin');
    await (await second).release('pin');
    expect(clock.sleeping()).toBe(0);
  });

  it.each([{ maxSessions: 0 }, { idleMs: Number.NaN }, { leaseMs: -1 }])('refuse %j', (options) => {
    expect(() => createMemorySessionTable({ clock: createFakeClock(), ...options })).toThrow(
      RangeError,
    );
  });
});
