import { describe, expect, it } from 'vitest';
import { createDurableSessions } from '../../../adapters/cloudflare/durable-sessions.ts';
import { LEASE_MS } from '../../../adapters/cloudflare/turn-queue.ts';
import type { SessionTable } from '../../../src/fleet/session-table.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { describeSessionTable } from '../../contracts/session-table.ts';
import { createFakeClock, type FakeClock } from '../../support/fake-clock.ts';
import { createFakeNamespace, type FakeNamespace } from '../../support/fake-objects.ts';
import { startLocalWorker } from '../../../infra/local-worker.ts';

const IDLE_MS = 3_600_000;
const refuse = (error: unknown): never => {
  throw error;
};

describeSessionTable(
  'session objects in this process',
  async () => {
    const clock = createFakeClock();
    const namespace = createFakeNamespace(clock);
    return {
      // Whoever holds a lease here never renews it: its time stands still.
      table: createDurableSessions({
        namespace,
        clock: createFakeClock(),
        idleMs: IDLE_MS,
        onError: refuse,
      }),
      idleMs: IDLE_MS,
      leaseMs: LEASE_MS,
      advance: (ms) => namespace.advance(ms),
      dispose: async () => undefined,
    };
  },
  true,
);

describeSessionTable(
  'session objects in workerd',
  async () => {
    const worker = await startLocalWorker();
    return {
      table: createDurableSessions({
        namespace: worker.sessions,
        clock: systemClock,
        idleMs: IDLE_MS,
        onError: refuse,
      }),
      idleMs: IDLE_MS,
      leaseMs: LEASE_MS,
      dispose: () => worker.close(),
    };
  },
  false,
);

function open(clientClock?: FakeClock): {
  readonly table: SessionTable;
  readonly namespace: FakeNamespace;
  readonly errors: unknown[];
} {
  const clock = createFakeClock();
  const namespace = createFakeNamespace(clock);
  const errors: unknown[] = [];
  const table = createDurableSessions({
    namespace,
    clock: clientClock ?? clock,
    idleMs: IDLE_MS,
    onError: (error) => errors.push(error),
  });
  return { table, namespace, errors };
}

it('session objects in workerd leave nothing in their files once they were idle', async () => {
  const worker = await startLocalWorker();
  try {
    const table = createDurableSessions({
      namespace: worker.sessions,
      clock: systemClock,
      idleMs: 500,
      onError: refuse,
    });
    await table.keep('one', 'a pin to be found');
    expect(await worker.isStored('a pin to be found')).toBe(true);
    // Its alarm goes off.
    while (await worker.isStored('a pin to be found')) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(await table.pin('one')).toBeNull();
  } finally {
    await worker.close();
  }
});

describe('session objects', () => {
  it('leave nothing stored once they were idle long enough, and nothing before', async () => {
    const { table, namespace } = open();
    await (await table.begin('one')).release('pin');
    await namespace.advance(IDLE_MS / 2);
    await (await table.begin('one')).release('pin');
    await namespace.advance(IDLE_MS / 2 + 1);
    expect(await table.pin('one')).toBe('pin');
    expect(namespace.stored.size).toBe(1);
    await namespace.advance(IDLE_MS / 2);
    expect(namespace.stored.size).toBe(0);
    expect(await table.pin('one')).toBeNull();
  });

  it('store nothing for a session without a pin', async () => {
    const { table, namespace } = open();
    await (await table.begin('one')).release(null);
    expect(namespace.stored.size).toBe(0);
  });

  it('keep their pins when they are dropped from memory', async () => {
    const { table, namespace } = open();
    const turn = await table.begin('one');
    namespace.evict();
    await turn.release('pin');
    namespace.evict();
    expect(await table.pin('one')).toBe('pin');
  });

  it('count a turn longer than the time to live as use', async () => {
    const client = createFakeClock();
    const { table, namespace } = open(client);
    await table.keep('one', 'pin');
    const turn = await table.begin('one');
    // Renewed by its holder, of whom the object hears every few seconds.
    for (let passed = 0; passed < IDLE_MS + LEASE_MS; passed += LEASE_MS / 2) {
      client.advance(LEASE_MS / 2);
      await table.pin('one');
      await namespace.advance(LEASE_MS / 2);
    }
    expect(namespace.stored.size).toBe(1);
    await turn.release('new');
    expect(await table.pin('one')).toBe('new');
  });

  it('hold a renewed lease for as long as it takes', async () => {
    const client = createFakeClock();
    const { table, namespace } = open(client);
    const turn = await table.begin('one');
    let hasNext = false;
    const next = table.begin('one').then((lease) => {
      hasNext = true;
      return lease;
    });
    for (let count = 0; count < 10; count++) {
      client.advance(LEASE_MS / 2);
      await table.pin('one');
      await namespace.advance(LEASE_MS / 2);
      await table.pin('one');
    }
    expect(hasNext).toBe(false);
    await turn.release('pin');
    expect((await next).pin).toBe('pin');
  });

  it('are done without where they cannot be reached', async () => {
    const { errors } = open();
    const table = createDurableSessions({
      namespace: {
        idFromName: (name) => name,
        get: () => ({ fetch: () => Promise.reject(new Error('overloaded')) }),
      },
      clock: createFakeClock(),
      idleMs: IDLE_MS,
      onError: (error) => errors.push(error),
    });
    const lease = await table.begin('one');
    expect(lease.pin).toBeNull();
    await lease.release('pin');
    expect(await table.pin('one')).toBeNull();
    expect(errors).toHaveLength(3);
  });
});
