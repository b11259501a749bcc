import type { Completer } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import { createEdgeRequest } from '../../src/image/edge-request.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { R2BucketLike } from '../r2/r2-bucket.ts';
import { createR2Store } from '../r2/r2-store.ts';
import type { MessageLike } from './bindings.ts';
import { sendCallback } from './callback.ts';
import { caption } from './caption.ts';
import { type CaptionDefaults, parseCaptionMessage } from './caption-message.ts';

export interface CaptionOptions extends CaptionDefaults {
  readonly completer: Completer;
  /** Holds the pictures and gets the results. */
  readonly bucket: R2BucketLike;
  readonly webhookSecret: string | null;
  /** Hears of what failed and what was passed over; must not throw. */
  readonly report: (message: MessageLike, error: unknown) => void;
}

/** Within the 15 minutes of a consumer. */
const JOB_MS = 10 * 60_000;
const LONGEST_DELAY_SECONDS = 600;

/**
 * Does the jobs of a batch. What fails for good is written down as failed and not tried again; the
 * rest is tried again later and later, until the queue gives it to its dead letters.
 */
export async function captionAll(
  messages: readonly MessageLike[],
  options: CaptionOptions,
): Promise<void> {
  await Promise.all(messages.map((message) => captionOne(message, options)));
}

async function captionOne(message: MessageLike, options: CaptionOptions): Promise<void> {
  const { bucket, completer, report, webhookSecret: secret } = options;
  const request = createEdgeRequest();
  // Of its own, for it remembers versions, and a picture may be a newer one by now.
  const store = createR2Store({ bucket });
  try {
    const job = await parseCaptionMessage(message.body, options);
    if (job === undefined) {
      report(message, new TypeError('it is not { image, prompt?, callback? }'));
      // Through to the dead letters, where somebody may look at it.
      message.retry();
      return;
    }
    if ('skipped' in job) {
      if (job.skipped !== null) report(message, `no caption: ${job.skipped}`);
    } else {
      const signal = AbortSignal.timeout(JOB_MS);
      const result = await caption(job, completer, store, signal);
      if (job.callback !== null) {
        await sendCallback(
          job.callback,
          result,
          { secret, nowMs: systemClock.now(), request },
          signal,
        );
      }
    }
    message.ack();
  } catch (error) {
    report(message, error);
    if (
      ServeError.is(error) &&
      (error.code === 'invalid_request' || error.code === 'invalid_url')
    ) {
      message.ack();
    } else {
      message.retry({ delaySeconds: delaySeconds(message.attempts) });
    }
  } finally {
    await store.close();
  }
}

function delaySeconds(attempts: number): number {
  return Math.min(LONGEST_DELAY_SECONDS, 5 * 2 ** Math.min(attempts, 10));
}
