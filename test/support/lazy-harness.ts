import { createLazyCompleter, type LazyCompleter } from '../../src/lazy-completer.ts';
import type { ModelCard } from '../../src/completer.ts';
import { createFakeClock, type FakeClock } from './fake-clock.ts';
import {
  createStubCompleter,
  STUB_CARD,
  type StubCompleter,
  type StubOptions,
} from './stub-completer.ts';

/** A lazy completer over stubs whose loads end when the test says so. */
export interface LazyHarness {
  readonly lazy: LazyCompleter;
  readonly clock: FakeClock;
  /** What was loaded so far, oldest first. */
  readonly stubs: StubCompleter[];
  /** Types of the load events so far. */
  readonly events: string[];
  readonly loadCount: () => number;
  readonly describeCount: () => number;
  /** The load that runs now makes progress, ends or fails. */
  readonly progress: (loadedBytes: number, totalBytes: number | null) => void;
  readonly finish: () => void;
  readonly fail: (error: unknown) => void;
}

export interface LazyHarnessOptions {
  readonly idleUnloadMs?: number;
  readonly stub?: StubOptions;
  readonly describe?: (signal: AbortSignal) => Promise<ModelCard>;
}

interface RunningLoad {
  readonly onProgress: (loadedBytes: number, totalBytes: number | null) => void;
  readonly resolve: (completer: StubCompleter) => void;
  readonly reject: (error: unknown) => void;
}

export function createLazyHarness(options: LazyHarnessOptions = {}): LazyHarness {
  const clock = createFakeClock();
  const stubs: StubCompleter[] = [];
  const events: string[] = [];
  let running: RunningLoad | null = null;
  let loads = 0;
  let descriptions = 0;
  const current = (): RunningLoad => {
    if (running === null) throw new Error('nothing is loading');
    return running;
  };
  const lazy = createLazyCompleter<StubCompleter>({
    clock,
    idleUnloadMs: options.idleUnloadMs ?? null,
    onLoad: (event) => void events.push(event.type),
    describe(signal) {
      descriptions++;
      return options.describe?.(signal) ?? Promise.resolve(STUB_CARD);
    },
    load(signal, onProgress) {
      loads++;
      return new Promise((resolve, reject) => {
        running = { onProgress, resolve, reject };
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    },
  });
  return {
    lazy,
    clock,
    stubs,
    events,
    loadCount: () => loads,
    describeCount: () => descriptions,
    progress: (loadedBytes, totalBytes) => current().onProgress(loadedBytes, totalBytes),
    finish() {
      const stub = createStubCompleter(options.stub);
      stubs.push(stub);
      current().resolve(stub);
    },
    fail: (error) => current().reject(error),
  };
}

/** Lets promises settle; no time passes on a fake clock. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
