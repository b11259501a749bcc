import type { Clock } from '../lib/clock.ts';
import { errorBody, toServeError } from './error-body.ts';

export interface SseOptions {
  readonly clock: Clock;
  /** Aborted when the reader goes away; the source of `items` must listen to it. */
  readonly abort: AbortController;
  /**
   * Milliseconds to wait for the first item before answering at all, so that what fails early
   * still gets its own HTTP status; 0 answers at once.
   */
  readonly graceMs: number;
  /** Milliseconds of silence after which a comment line keeps proxies from cutting the connection. */
  readonly heartbeatMs: number;
  /** What the comment says, one line; `waiting` by default. */
  readonly heartbeat?: () => string;
  /** Called once when the stream is over, however it ended. */
  readonly onEnd: (end: SseEnd) => void;
}

export type SseEnd =
  | { readonly outcome: 'ok' }
  | { readonly outcome: 'aborted' }
  | { readonly outcome: 'error'; readonly error: unknown };

const LATE = Symbol('late');
const encoder = new TextEncoder();
const DONE = encoder.encode('data: [DONE]\n\n');

/**
 * Turns items into the body of a server-sent event stream: one JSON frame per item, pulled one by
 * one, then `[DONE]`. A failure after the first byte travels as a frame with an `error` object.
 * @throws what the first item failed with, when that happens within the grace period
 */
export async function openSse(
  items: AsyncIterable<unknown>,
  options: SseOptions,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const { abort, clock } = options;
  const iterator = items[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<unknown>> | undefined = iterator.next();
  pending.catch(() => undefined); // thrown below or read by `pull`, unless the reader leaves first
  let silent =
    options.graceMs === 0 || (await settledWithin(pending, options.graceMs, clock)) === LATE;
  const heartbeat = (): Uint8Array<ArrayBuffer> =>
    encoder.encode(`: ${options.heartbeat?.() ?? 'waiting'}\n\n`);
  let ended = false;
  const end = (how: SseEnd): void => {
    if (ended) return;
    ended = true;
    options.onEnd(how);
  };

  const source: UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> = {
    async pull(controller) {
      try {
        if (silent) {
          // Headers alone are held back by some proxies until a byte of the body follows.
          silent = false;
          controller.enqueue(heartbeat());
          return;
        }
        pending ??= iterator.next();
        const result = await settledWithin(pending, options.heartbeatMs, clock);
        if (ended) return;
        if (result === LATE) {
          controller.enqueue(heartbeat());
          return;
        }
        pending = undefined;
        if (result.done !== true) {
          controller.enqueue(frame(result.value));
          return;
        }
        controller.enqueue(DONE);
        controller.close();
        end({ outcome: 'ok' });
      } catch (error) {
        if (ended) return;
        const aborted = abort.signal.aborted;
        if (!aborted) controller.enqueue(frame(errorBody(toServeError(error))));
        controller.close();
        end(aborted ? { outcome: 'aborted' } : { outcome: 'error', error });
      }
    },
    async cancel() {
      // Settled before the abort makes the pending item fail, which would count as an error.
      end({ outcome: 'aborted' });
      abort.abort(new DOMException('the client went away', 'AbortError'));
      await iterator.return?.();
    },
  };
  // Nothing is pulled ahead of the reader, so nothing ends before the answer has begun.
  return new ReadableStream(source, { highWaterMark: 0 });
}

function frame(item: unknown): Uint8Array<ArrayBuffer> {
  return encoder.encode(`data: ${JSON.stringify(item)}\n\n`);
}

/** Waits for `promise` at most `ms`; the timer never outlives the wait. */
async function settledWithin<T>(
  promise: Promise<T>,
  ms: number,
  clock: Clock,
): Promise<T | typeof LATE> {
  const timer = new AbortController();
  const late = clock.sleep(ms, timer.signal).then((): typeof LATE => LATE);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
