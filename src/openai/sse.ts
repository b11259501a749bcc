import type { Clock } from '../lib/clock.ts';
import { errorBody, toServeError } from './error-body.ts';

export interface SseOptions {
  readonly clock: Clock;
  /** Aborted when the reader goes away; the source of `items` must listen to it. */
  readonly abort: AbortController;
  /**
   * Milliseconds to wait for the first item before answering at all, so that what fails early
   * still gets its own HTTP status.
   */
  readonly graceMs: number;
  /** Milliseconds of silence after which a comment line keeps proxies from cutting the connection. */
  readonly heartbeatMs: number;
  /** Called once when the stream is over, however it ended. */
  readonly onEnd: (end: SseEnd) => void;
}

export type SseEnd =
  | { readonly outcome: 'ok' }
  | { readonly outcome: 'aborted' }
  | { readonly outcome: 'error'; readonly error: unknown };

const LATE = Symbol('late');
const encoder = new TextEncoder();
const HEARTBEAT = encoder.encode(': waiting\n\n');
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
  let silent = (await settledWithin(pending, options.graceMs, clock)) === LATE;
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
          controller.enqueue(HEARTBEAT);
          return;
        }
        pending ??= iterator.next();
        const result = await settledWithin(pending, options.heartbeatMs, clock);
        if (ended) return;
        if (result === LATE) {
          controller.enqueue(HEARTBEAT);
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
