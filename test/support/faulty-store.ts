import { ServeError } from '../../src/errors.ts';
import { memoryStore, type MemoryStore } from './memory-store.ts';
import type { SeededRandom } from './seeded-random.ts';

export interface FaultyStore extends MemoryStore {
  /** Requests that have begun and not ended. */
  readonly running: number;
  /** Most requests that ran at once. */
  readonly mostRunning: number;
  /** Requests of such keys end with their signal only. */
  isHeld: (key: string) => boolean;
  /** The next so many writes fail. */
  failingWrites: number;
  /** Writes of such keys are acknowledged and forgotten. */
  isLost: (key: string) => boolean;
}

/** A store in memory whose requests overlap, overtake each other and fail as told. */
export function faultyStore(random: SeededRandom): FaultyStore {
  const inner = memoryStore();
  let running = 0;
  let mostRunning = 0;

  async function request<T>(
    key: string,
    signal: AbortSignal | undefined,
    work: () => Promise<T>,
  ): Promise<T> {
    signal?.throwIfAborted();
    running++;
    mostRunning = Math.max(mostRunning, running);
    try {
      for (let turns = random.integer(0, 4); turns > 0; turns--) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (self.isHeld(key)) {
        await new Promise((_resolve, reject) => {
          const onAbort = (): void => reject(signal?.reason);
          if (signal?.aborted === true) onAbort();
          else signal?.addEventListener('abort', onAbort, { once: true });
        });
      }
      signal?.throwIfAborted();
      return await work();
    } finally {
      running--;
    }
  }

  const head = inner.head.bind(inner);
  const read = inner.read.bind(inner);
  const write = inner.write.bind(inner);
  const remove = inner.remove.bind(inner);
  const faults: Omit<FaultyStore, keyof MemoryStore> & Partial<MemoryStore> = {
    get running() {
      return running;
    },
    get mostRunning() {
      return mostRunning;
    },
    isHeld: () => false,
    isLost: () => false,
    failingWrites: 0,
    head: (key, signal) => request(key, signal, () => head(key)),
    read: (key, offset, target, signal) =>
      request(key, signal, () => read(key, offset, target, signal)),
    write: (key, body, options = {}) =>
      request(key, options.signal, async () => {
        if (self.failingWrites > 0) {
          self.failingWrites--;
          throw new ServeError('weights_unavailable', 'memory: a write failed');
        }
        if (self.isLost(key)) return { sizeBytes: body.length, etag: null };
        return write(key, body, options);
      }),
    remove: (key, signal) => request(key, signal, () => remove(key)),
  };
  // In place, since the store in memory calls its own hooks.
  const self = Object.defineProperties(
    inner,
    Object.getOwnPropertyDescriptors(faults),
  ) as FaultyStore;
  return self;
}
