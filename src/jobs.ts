import { ServeError } from './errors.ts';
import type { Clock } from './lib/clock.ts';
import { createSemaphore } from './lib/semaphore.ts';
import { errorBody, toServeError } from './openai/error-body.ts';

/** Answers that are fetched later. They live in this process and end with it. */
export interface Jobs {
  /**
   * Starts `work` as soon as there is room for it.
   * @param scope who may see the job
   * @throws ServeError queue_full
   */
  start(scope: string, work: JobWork): Job;
  /** null where there is none, or none of this scope. */
  find(scope: string, id: string): Job | null;
  /** Cancels a job that is not over and forgets it; false where `find` finds none. */
  remove(scope: string, id: string): boolean;
}

export interface JobWork {
  /** Gives the body of the answer; calls `onStart` when it no longer waits. */
  readonly run: (signal: AbortSignal, onStart: () => void) => Promise<object>;
  /** Called once, when the job is over. */
  readonly onEnd: (end: JobEnd) => void;
}

export type JobEnd =
  | { readonly outcome: 'ok' }
  | { readonly outcome: 'aborted' }
  | { readonly outcome: 'error'; readonly error: unknown };

export interface Job {
  readonly id: string;
  readonly createdSeconds: number;
  readonly status: 'queued' | 'running' | 'completed' | 'failed';
  /** What the direct answer would have been; null until the job is over. */
  readonly response: JobResponse | null;
}

export interface JobResponse {
  readonly status: number;
  readonly body: object;
}

export interface JobsOptions {
  readonly clock: Clock;
  /** Jobs at once, those that are over included; default 1024. */
  readonly maxJobs?: number;
  /** Jobs that run at once, so that they leave room in the engine's queue; default 32. */
  readonly maxRunning?: number;
}

const MAX_JOBS = 1024;
const MAX_RUNNING = 32;
/** How long the answer of a job is kept. */
const KEPT_MS = 15 * 60_000;

interface Entry {
  readonly scope: string;
  readonly abort: AbortController;
  job: Job;
  /** null until the job is over. */
  endedMs: number | null;
}

export function createJobs(options: JobsOptions): Jobs {
  const { clock } = options;
  const maxJobs = options.maxJobs ?? MAX_JOBS;
  const room = createSemaphore(options.maxRunning ?? MAX_RUNNING);
  const entries = new Map<string, Entry>();

  /** Done when somebody looks: nothing needs a timer, and the number of jobs is bounded. */
  function forgetOld(): void {
    const oldestMs = clock.now() - KEPT_MS;
    for (const [id, { endedMs }] of entries) {
      if (endedMs !== null && endedMs <= oldestMs) entries.delete(id);
    }
  }

  function entryOf(scope: string, id: string): Entry | null {
    forgetOld();
    const entry = entries.get(id);
    return entry?.scope === scope ? entry : null;
  }

  async function follow(entry: Entry, { run, onEnd }: JobWork): Promise<void> {
    const { signal } = entry.abort;
    const update = (change: Partial<Job>): void => {
      entry.job = { ...entry.job, ...change };
    };
    let end: JobEnd = { outcome: 'ok' };
    try {
      const body = await room.run(() => run(signal, () => update({ status: 'running' })), signal);
      update({ status: 'completed', response: { status: 200, body } });
    } catch (error) {
      const failure = toServeError(error);
      update({ status: 'failed', response: { status: failure.status, body: errorBody(failure) } });
      end = signal.aborted ? { outcome: 'aborted' } : { outcome: 'error', error };
    }
    entry.endedMs = clock.now();
    onEnd(end);
  }

  return {
    start(scope, work) {
      forgetOld();
      if (entries.size >= maxJobs) {
        throw new ServeError(
          'queue_full',
          `There are ${entries.size} jobs, which is the most that are kept. Delete some, or wait until old ones are forgotten.`,
        );
      }
      const id = `job_${crypto.randomUUID().replaceAll('-', '')}`;
      const createdSeconds = Math.floor(clock.now() / 1000);
      const job: Job = { id, createdSeconds, status: 'queued', response: null };
      const entry: Entry = { scope, abort: new AbortController(), job, endedMs: null };
      entries.set(id, entry);
      void follow(entry, work);
      return job;
    },
    find: (scope, id) => entryOf(scope, id)?.job ?? null,
    remove(scope, id) {
      const entry = entryOf(scope, id);
      if (entry === null) return false;
      entries.delete(id);
      entry.abort.abort(new DOMException('the job was cancelled', 'AbortError'));
      return true;
    },
  };
}
