/** One of several sources, started when its turn comes. */
export type StreamSource<T> = (signal: AbortSignal) => AsyncIterable<T>;

/**
 * Runs sources side by side, at most `concurrency` at once, and yields their items with the index
 * of the source as they come. Each source is one item ahead of the reader at most. The first
 * failure, an abort or leaving the loop aborts all of them and waits until they have let go.
 * @throws what the failing source threw; the signal's reason on abort
 */
export async function* mergeStreams<T>(
  sources: readonly StreamSource<T>[],
  concurrency: number,
  signal?: AbortSignal,
): AsyncGenerator<readonly [index: number, item: T], void, undefined> {
  const inner = new AbortController();
  const combined = signal === undefined ? inner.signal : AbortSignal.any([signal, inner.signal]);
  const running = new Map<number, AsyncIterator<T>>();
  // A queue with one wake-up instead of Promise.race: racing a slow source again and again would
  // pile up reactions on its one pending promise.
  const settled: Settled<T>[] = [];
  let wake: (() => void) | null = null;

  const advance = (index: number, iterator: AsyncIterator<T>): void => {
    const settle = (entry: Settled<T>): void => {
      settled.push(entry);
      wake?.();
    };
    iterator.next().then(
      (result) => settle({ index, iterator, result }),
      (error: unknown) => settle({ index, iterator, error }),
    );
  };

  let started = 0;
  const fill = (): void => {
    while (running.size < concurrency) {
      const source = sources[started];
      if (source === undefined) return;
      const iterator = source(combined)[Symbol.asyncIterator]();
      running.set(started, iterator);
      advance(started, iterator);
      started++;
    }
  };

  try {
    fill();
    while (running.size > 0) {
      const entry = settled.shift();
      if (entry === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      if ('error' in entry) {
        running.delete(entry.index);
        throw entry.error;
      }
      if (entry.result.done === true) {
        running.delete(entry.index);
        fill();
        continue;
      }
      yield [entry.index, entry.result.value];
      advance(entry.index, entry.iterator);
    }
  } finally {
    inner.abort(new DOMException('the merged stream was left', 'AbortError'));
    await Promise.allSettled([...running.values()].map(async (iterator) => iterator.return?.()));
  }
}

type Settled<T> =
  | {
      readonly index: number;
      readonly iterator: AsyncIterator<T>;
      readonly result: IteratorResult<T>;
    }
  | { readonly index: number; readonly iterator: AsyncIterator<T>; readonly error: unknown };
