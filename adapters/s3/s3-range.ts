import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { ServeError } from '../../src/errors.ts';
import type { ObjectInfo } from '../../src/weights/object-source.ts';
import { PassingFailure } from '../../src/weights/web-attempt.ts';

const CONTENT_RANGE = /^bytes (\d+)-(\d+)\/(\d+|\*)$/;

export interface AskedRange {
  /** `s3://bucket/prefix: key`, for messages. */
  readonly what: string;
  /** Of the first byte asked for. */
  readonly offset: number;
  /** The object as it was when first seen. */
  readonly info: ObjectInfo;
}

/**
 * Checks that an answer is the range asked for, or its beginning.
 * @param length bytes asked for
 * @returns how many bytes it will bring, 1 to `length`
 * @throws PassingFailure: its headers contradict the request or each other, as from a broken proxy;
 * ServeError weights_unavailable: no support for ranges
 */
export function checkAnswer(
  output: GetObjectCommandOutput,
  { what, offset, info }: AskedRange,
  length: number,
): number {
  const { ContentRange: range, ContentLength: sizeBytes } = output;
  if (output.$metadata.httpStatusCode === 200) {
    // The whole object is fine where the whole object was asked for.
    if (offset === 0 && length === info.sizeBytes && sizeBytes === length) return length;
    throw new ServeError(
      'weights_unavailable',
      `${what}: the server ignores range requests; use one that supports them`,
    );
  }
  const [, first, last, total] = CONTENT_RANGE.exec(range ?? '') ?? [];
  const count = Number(last) - Number(first) + 1;
  const fits =
    Number(first) === offset &&
    count >= 1 &&
    count <= length &&
    sizeBytes === count &&
    (total === '*' || Number(total) === info.sizeBytes);
  if (fits) return count;
  throw new PassingFailure(
    `the server answered ${length} bytes from ${offset} with ${sizeBytes ?? 'unknown many'} bytes as "${range ?? 'no range'}"`,
  );
}

/**
 * Fills `target` with the bytes of `body`; when it settles, nothing more is written to `target`.
 * @param received is told of every chunk as it lands, so that a retry goes on after it
 * @throws PassingFailure: fewer or more bytes than `target` holds, a broken connection; the signal's
 * reason on abort
 */
export function fillFrom(
  body: Readable,
  target: Uint8Array,
  signal: AbortSignal,
  received: (count: number) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const settle = (error?: unknown): void => {
      signal.removeEventListener('abort', onAbort);
      body.off('data', onData).off('end', onEnd).off('close', onClose);
      if (error === undefined) {
        resolve();
        return;
      }
      // Its `error` listener stays: a destroyed connection may still complain.
      body.destroy();
      reject(error);
    };
    const onData = (chunk: Uint8Array): void => {
      const room = target.length - done;
      if (chunk.length > room) {
        settle(new PassingFailure('the server sent more than it announced'));
        return;
      }
      target.set(chunk, done);
      done += chunk.length;
      received(chunk.length);
    };
    const onEnd = (): void => {
      if (done === target.length) settle();
      else settle(cut());
    };
    const onClose = (): void => settle(cut());
    const onAbort = (): void => settle(signal.reason);
    const cut = (cause?: unknown): PassingFailure =>
      new PassingFailure(`the answer ended after ${done} of ${target.length} bytes`, { cause });
    body.on('error', (error) => settle(cut(error)));
    if (signal.aborted) {
      onAbort();
      return;
    }
    if (body.destroyed) {
      settle(cut());
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    // An event each chunk, not an async iterator: that would join what is buffered into a copy.
    body.on('end', onEnd).on('close', onClose).on('data', onData);
  });
}
