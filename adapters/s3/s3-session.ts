import { ServeError } from '../../src/errors.ts';
import { abortable } from '../../src/lib/abortable.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { retrying, runAttempt } from '../../src/weights/web-attempt.ts';
import type { Patience } from '../../src/weights/web-attempt.ts';
import { openS3Api } from './s3-client.ts';
import type { S3Api, S3ClientOptions } from './s3-client.ts';
import { explainFailure } from './s3-fault.ts';
import type { S3Action } from './s3-fault.ts';
import type { S3Location } from './s3-location.ts';

export interface S3SessionOptions extends S3ClientOptions {
  readonly clock?: Pick<Clock, 'sleep'> | undefined;
  /** Silence after which a transfer is started anew, in milliseconds; default 30,000. */
  readonly stallMs?: number | undefined;
  /** 0 to 1, for the spread of pauses; default `Math.random`. */
  readonly random?: (() => number) | undefined;
}

/** One request of an action, and how it tells that something arrived. */
export type S3Attempt<T> = (api: S3Api, signal: AbortSignal, alive: () => void) => Promise<T>;

/** Requests to one place in S3: the client behind them, their repetition and their end. */
export interface S3Session {
  readonly location: S3Location;
  /**
   * Runs `attempt` until it succeeds or patience ends.
   * @param progress grows as bytes arrive; progress forgives earlier failures
   * @throws ServeError weights_unavailable, backend_unavailable; the signal's reason on abort
   */
  call<T>(
    action: S3Action,
    attempt: S3Attempt<T>,
    signal: AbortSignal,
    progress?: () => number,
  ): Promise<T>;
  /** `signal`, which also ends with the session. */
  whileOpen(signal?: AbortSignal): AbortSignal;
  close(): Promise<void>;
}

/** Slowest upload that counts as alive, in bytes a millisecond; about 1 MiB a second. */
const UPLOAD_RATE = 1048;

/** Pauses grow by up to this part at random, so that many machines do not come back at once. */
const SPREAD = 0.5;

export function createS3Session(location: S3Location, options: S3SessionOptions): S3Session {
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const stallMs = options.stallMs ?? 30_000;
  const sleep = (ms: number, signal?: AbortSignal): Promise<void> => clock.sleep(ms, signal);
  const pauses: Patience = {
    stallMs,
    // Never shorter than what the server asked for.
    sleep: (ms, signal) => clock.sleep(Math.round(ms * (1 + SPREAD * random())), signal),
  };
  const patienceOf = ({ sentBytes = 0 }: S3Action): Patience => ({
    stallMs: stallMs + Math.ceil(sentBytes / UPLOAD_RATE),
    sleep,
  });
  const closing = new AbortController();
  let opening: Promise<S3Api> | undefined;

  const open = (): Promise<S3Api> => {
    opening ??= openS3Api(location.name, options).catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  };

  return {
    location,
    call: (action, attempt, signal, progress = () => 0) =>
      retrying(
        pauses,
        `${location.name}: ${action.key}`,
        progress,
        () =>
          runAttempt(patienceOf(action), signal, async (attemptSignal, alive) => {
            try {
              return await attempt(await abortable(open(), attemptSignal), attemptSignal, alive);
            } catch (error) {
              throw explainFailure(location, action, error);
            }
          }),
        signal,
      ),
    whileOpen: (signal) =>
      signal === undefined ? closing.signal : AbortSignal.any([signal, closing.signal]),
    async close() {
      closing.abort(new ServeError('internal', `${location.name} is closed`));
      const api = await opening?.catch(() => undefined);
      if (options.client === undefined) api?.client.destroy();
    },
  };
}
