import type { Clock } from './clock.ts';
import { LATE, settledWithin } from './settled-within.ts';

/** How items become bytes. */
export interface FrameFormat<T> {
  frame(item: T): string;
  /** Says that nothing came for a while. */
  heartbeat(): string;
  /** Tells of a failure after the first byte. */
  failure(error: unknown): string;
  /** The last frame of an answer that is whole; '' for none. */
  readonly end: string;
}

export interface FramesOptions {
  readonly clock: Clock;
  /** Aborted when the reader goes away; the source of the items must listen to it. */
  readonly abort: AbortController;
  /**
   * Milliseconds to wait for the first item before answering at all, so that what fails early
   * still gets its own HTTP status; 0 answers at once.
   */
  readonly graceMs: number;
  /** Milliseconds of silence after which a heartbeat keeps proxies from cutting the connection. */
  readonly heartbeatMs: number;
  /** Called once when the stream is over, however it ended. */
  readonly onEnd: (end: FramesEnd) => void;
}

export type FramesEnd =
  | { readonly outcome: 'ok' }
  | { readonly outcome: 'aborted' }
  | { readonly outcome: 'error'; readonly error: unknown };

const encoder = new TextEncoder();

/**
 * Turns items into the body of a response, pulled one by one. A failure after the first byte travels
 * as a frame.
 * @throws what the first item failed with, when that happens within the grace period
 */
export async function openFrames<T>(
  items: AsyncIterable<T>,
  format: FrameFormat<T>,
  options: FramesOptions,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const { abort, clock } = options;
  const iterator = items[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<T>> | undefined = iterator.next();
  pending.catch(() => undefined); // thrown below or read by `pull`, unless the reader leaves first
  let silent =
    options.graceMs === 0 || (await settledWithin(pending, options.graceMs, clock)) === LATE;
  let ended = false;
  const end = (how: FramesEnd): void => {
    if (ended) return;
    ended = true;
    options.onEnd(how);
  };

  const source: UnderlyingDefaultSource<Uint8Array<ArrayBuffer>> = {
    async pull(controller) {
      const send = (text: string): void => controller.enqueue(encoder.encode(text));
      try {
        if (silent) {
          // Headers alone are held back by some proxies until a byte of the body follows.
          silent = false;
          send(format.heartbeat());
          return;
        }
        pending ??= iterator.next();
        const result = await settledWithin(pending, options.heartbeatMs, clock);
        if (ended) return;
        if (result === LATE) {
          send(format.heartbeat());
          return;
        }
        pending = undefined;
        if (result.done !== true) {
          send(format.frame(result.value));
          return;
        }
        if (format.end !== '') send(format.end);
        controller.close();
        end({ outcome: 'ok' });
      } catch (error) {
        if (ended) return;
        const aborted = abort.signal.aborted;
        if (!aborted) send(format.failure(error));
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
