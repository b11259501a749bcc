import type { KvContent } from '../../src/engine/kv/kv-store.ts';
import {
  createSessionRegistry,
  type SessionRegistry,
  type SessionRegistryOptions,
} from '../../src/sessions/registry.ts';
import type { SessionEvent } from '../../src/sessions/session.ts';
import { createFakeClock, type FakeClock } from './fake-clock.ts';
import { memoryStore, type MemoryStore } from './memory-store.ts';
import { createFakeSessionMemory, type FakeSessionMemory } from './session-memory.ts';

/** A registry over a store and pages in memory, on a clock that stands still. */
export interface SessionHarness {
  readonly registry: SessionRegistry;
  readonly memory: FakeSessionMemory;
  readonly store: MemoryStore;
  readonly clock: FakeClock;
  readonly events: SessionEvent[];
  /** Records a turn whose pages are held; turns have names of their own unless given. */
  readonly turn: (id: string, content: KvContent, name?: string, tenant?: string) => void;
  /** Ids of a tenant's sessions, latest created first. */
  readonly ids: (tenant?: string) => Promise<string[]>;
  /** Another process over the same store and pages. */
  readonly restart: () => SessionHarness;
}

export function createSessionHarness(
  options: Partial<SessionRegistryOptions> = {},
  shared?: Pick<SessionHarness, 'memory' | 'store' | 'clock'>,
): SessionHarness {
  const memory = shared?.memory ?? createFakeSessionMemory();
  const store = shared?.store ?? memoryStore();
  const clock = shared?.clock ?? createFakeClock();
  const events: SessionEvent[] = [];
  const registry = createSessionRegistry({
    store,
    clock,
    memory,
    quotaBytes: null,
    quotaCount: null,
    onEvent: (event) => void events.push(event),
    ...options,
  });
  let turnCount = 0;
  return {
    registry,
    memory,
    store,
    clock,
    events,
    turn(id, content, name = `turn ${turnCount++}`, tenant = 'a') {
      memory.hold(content);
      registry.record(tenant, id, content, { turn: name, savedTokens: 2 });
    },
    async ids(tenant = 'a') {
      const { sessions } = await registry.list(tenant, { limit: 100, after: null });
      return sessions.map(({ id }) => id);
    },
    restart: () => createSessionHarness(options, { memory, store, clock }),
  };
}
