import {
  createLazyCompleter,
  type LazyCompleter,
  type LoadEvent,
} from '../../src/lazy-completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { MemoryTable } from '../../src/model/memory.ts';
import { startEngine, type LocalCompleter } from './create-engine.ts';
import { describeModel } from './describe-model.ts';
import type { EngineOptions } from './engine-settings.ts';
import { requireMemory } from './memory-fit.ts';

/** Loads are aborted by `close`, so there is no signal. */
export interface LazyEngineOptions extends Omit<EngineOptions, 'signal'> {
  /** Milliseconds without requests after which the memory is given back; null (default) is never. */
  readonly idleUnloadMs?: number | null;
  /** Observes loading; must not throw. */
  readonly onLoad?: (event: LoadEvent<LocalCompleter>) => void;
}

export interface LazyEngine extends LazyCompleter {
  /** Where the memory goes, or would go; null until the model is described or loaded. */
  memory(): MemoryTable | null;
}

/**
 * A model that is loaded into this process by its first request, or by `ready()`.
 * @example
 * const completer = createLazyEngine({ model: './gemma-3-4b-it-int4-awq', idleUnloadMs: 600_000 });
 * const app = createApp({ completer });
 */
export function createLazyEngine(options: LazyEngineOptions = {}): LazyEngine {
  const { idleUnloadMs = null, onLoad, ...engine } = options;
  let memory: MemoryTable | null = null;
  const completer = createLazyCompleter<LocalCompleter>({
    async describe(signal) {
      const described = await describeModel({ ...engine, signal });
      requireMemory(described.memory, described.availableBytes);
      memory ??= described.memory;
      return described.card;
    },
    async load(signal, onProgress, onUsable) {
      const { completer: local, loaded } = await startEngine({
        ...engine,
        signal,
        onProgress(loadedBytes, totalBytes) {
          onProgress(loadedBytes, totalBytes);
          options.onProgress?.(loadedBytes, totalBytes);
        },
      });
      memory = local.memory;
      try {
        onUsable(local);
        await loaded;
        return local;
      } catch (error) {
        await local.close();
        throw error;
      }
    },
    idleUnloadMs,
    clock: systemClock,
    ...(onLoad === undefined ? {} : { onLoad }),
  });
  return Object.assign(completer, { memory: () => memory });
}
