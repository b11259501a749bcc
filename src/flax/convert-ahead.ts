import type { FlaxArray } from './flax-tensors.ts';

/** Gives the bytes of an array's tensors in pieces; here, or in another thread. */
export type ConvertArray = (
  flax: FlaxArray,
  signal?: AbortSignal,
) => AsyncGenerator<Uint8Array<ArrayBuffer>>;

/**
 * Several arrays one after the other, of which the next are begun while the first is taken.
 * @param sizeOf bytes that an array may take while it waits
 * @param aheadBytes most bytes of arrays that were begun and not taken; one is always under way
 * @param mostAtOnce arrays under way
 */
export async function* convertAhead<T>(
  items: readonly T[],
  convert: (item: T, signal: AbortSignal) => AsyncGenerator<Uint8Array<ArrayBuffer>>,
  sizeOf: (item: T) => number,
  limits: { readonly aheadBytes: number; readonly mostAtOnce: number },
  signal?: AbortSignal,
): AsyncGenerator<readonly [item: T, piece: Uint8Array<ArrayBuffer>]> {
  const stop = new AbortController();
  const combined = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const begun: Begun<T>[] = [];
  let next = 0;
  let bytes = 0;

  function begin(): void {
    while (next < items.length && begun.length < limits.mostAtOnce) {
      const item = items[next] as T;
      const size = sizeOf(item);
      if (begun.length > 0 && bytes + size > limits.aheadBytes) return;
      const pieces = convert(item, combined);
      const first = pieces.next();
      // Its turn comes later; whoever leaves before does not wait for it.
      first.catch(() => undefined);
      begun.push({ item, pieces, first, size });
      bytes += size;
      next++;
    }
  }

  try {
    begin();
    for (let current = begun[0]; current !== undefined; current = begun[0]) {
      for (let result = await current.first; ;) {
        if (result.done === true) break;
        yield [current.item, result.value];
        result = await current.pieces.next();
      }
      begun.shift();
      bytes -= current.size;
      begin();
    }
  } finally {
    stop.abort(new DOMException('the conversion was left', 'AbortError'));
    await Promise.allSettled(begun.map(({ pieces }) => pieces.return(undefined)));
  }
}

interface Begun<T> {
  readonly item: T;
  readonly pieces: AsyncGenerator<Uint8Array<ArrayBuffer>>;
  readonly first: Promise<IteratorResult<Uint8Array<ArrayBuffer>>>;
  readonly size: number;
}
