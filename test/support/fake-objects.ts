import type { ObjectNamespaceLike, ObjectStorageLike } from '../../adapters/cloudflare/bindings.ts';
import { SessionObject } from '../../adapters/cloudflare/session-object.ts';
import { abortable } from '../../src/lib/abortable.ts';
import type { FakeClock } from './fake-clock.ts';

/** A namespace of session objects in this process, whose alarms go off as a clock is moved. */
export interface FakeNamespace extends ObjectNamespaceLike {
  /** What is stored, by the object's name. */
  readonly stored: ReadonlyMap<string, ReadonlyMap<string, unknown>>;
  /** Drops all objects from memory, as a deployment does; what they stored stays. */
  evict(): void;
  advance(ms: number): Promise<void>;
}

interface Live {
  readonly object: SessionObject;
  readonly ready: Promise<unknown>;
}

export function createFakeNamespace(clock: FakeClock): FakeNamespace {
  const stored = new Map<string, Map<string, unknown>>();
  const alarms = new Map<string, number>();
  const live = new Map<string, Live>();

  function storageOf(name: string): ObjectStorageLike {
    const rows = (): Map<string, unknown> => stored.get(name) ?? new Map<string, unknown>();
    return {
      get: async (key) => structuredClone(rows().get(key)),
      async put(key, value) {
        stored.set(name, rows().set(key, structuredClone(value)));
      },
      async deleteAll() {
        stored.delete(name);
      },
      getAlarm: async () => alarms.get(name) ?? null,
      async setAlarm(timeMs) {
        alarms.set(name, timeMs);
      },
      async deleteAlarm() {
        alarms.delete(name);
      },
    };
  }

  function open(name: string): Live {
    const known = live.get(name);
    if (known !== undefined) return known;
    let ready: Promise<unknown> = Promise.resolve();
    const state = {
      storage: storageOf(name),
      blockConcurrencyWhile<T>(work: () => Promise<T>): Promise<T> {
        const working = work();
        ready = working;
        return working;
      },
    };
    const made = { object: new SessionObject(state, {}, clock), ready };
    live.set(name, made);
    return made;
  }

  async function ring(name: string): Promise<void> {
    alarms.delete(name);
    const { object, ready } = open(name);
    await ready;
    await object.alarm();
  }

  return {
    stored,
    evict: () => live.clear(),
    async advance(ms) {
      clock.advance(ms);
      const due = [...alarms].filter(([, timeMs]) => timeMs <= clock.now());
      for (const [name] of due) await ring(name);
    },
    idFromName: (name) => name,
    get: (id) => ({
      async fetch(url, init) {
        const { object, ready } = open(String(id));
        await ready;
        const answer = object.fetch(new Request(url, init));
        return abortable(answer, init.signal ?? undefined);
      },
    }),
  };
}
