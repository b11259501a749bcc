import type { Completer } from '../../src/completer.ts';

/** What must end before the runtime may drop an event. */
export interface PendingWork {
  /** @returns `work` itself */
  add<T>(work: Promise<T>): Promise<T>;
  /** Resolves when nothing runs any more. */
  settled(): Promise<void>;
}

export function createPendingWork(): PendingWork {
  const running = new Set<Promise<unknown>>();
  return {
    add(work) {
      const over: Promise<unknown> = work.catch(() => undefined).then(() => running.delete(over));
      running.add(over);
      return work;
    },
    async settled() {
      while (running.size > 0) await Promise.all(running);
    },
  };
}

/** The completer, with its answers counted as work until they have freed what they hold. */
export function withPendingWork(completer: Completer, pending: PendingWork): Completer {
  const complete: Completer['complete'] = async function* completeCounted(request, signal) {
    let end: (() => void) | undefined;
    void pending.add(
      new Promise<void>((resolve) => {
        end = resolve;
      }),
    );
    try {
      yield* completer.complete(request, signal);
    } finally {
      end?.();
    }
  };
  // Not a copy: its model and state are read anew each time.
  return Object.create(completer, { complete: { value: complete } }) as Completer;
}
