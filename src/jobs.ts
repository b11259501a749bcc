import { defaultOf } from './bounds.ts';
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
  /**
   * Gives the body of the answer; calls `onStart` when it no longer waits. It is run again, from its
   * beginning, where there was no room for it.
   */
  readonly run: (signal: AbortSignal, onStart: () => void) => Promise<object>;
  /** Bytes of memory that it holds until it is over. */
  readonly sizeBytes: number;
  /** Answers that it computes side by side. */
  readonly places: number;
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
  /** JSON in UTF-8. */
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Bounds on all jobs of a process, and on those of one API key. */
export interface JobLimits {
  /** Jobs, those that are over included; a key gets at most a quarter. */
  readonly maxJobs: number;
  /** Jobs of a key that are not over. */
  readonly maxTenantJobs: number;
  /** Bytes of requests that wait and run, and of answers that are kept. */
  readonly maxJobBytes: number;
  readonly maxTenantJobBytes: number;
}

export interface JobsOptions extends Partial<JobLimits> {
  readonly clock: Clock;
  /** Answers computed at once for jobs, so that they leave room in the engine's queue; default 32. */
  readonly maxRunning?: number;
}

const MAX_RUNNING = 32;
/** How long the answer of a job is kept. */
const KEPT_MS = 15 * 60_000;
/** Of the jobs that are kept, those of one key. */
const TENANT_SHARE = 1 / 4;
/** Waits of a job for which the engine had no room: longer each time. */
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** A request that never fits, such as one with more choices than its key may have, ends then. */
const GIVE_UP_MS = 60 * 60_000;

interface Entry {
  readonly scope: string;
  readonly abort: AbortController;
  job: Job;
  /** Of its request, and of its answer once it is over. */
  sizeBytes: number;
  /** null until the job is over. */
  endedMs: number | null;
  /** Somebody has had the answer: it makes room for others. */
  isFetched: boolean;
}

export function createJobs(options: JobsOptions): Jobs {
  const { clock } = options;
  const {
    maxJobs = defaultOf('maxJobs'),
    maxTenantJobs = defaultOf('maxTenantJobs'),
    maxJobBytes = defaultOf('maxJobBytes'),
    maxTenantJobBytes = defaultOf('maxTenantJobBytes'),
  } = options;
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

  /** The bound that would be passed, and whether only by jobs of this scope; null: there is room. */
  function passedBound(scope: string, count: number, sizeBytes: number): Passed | null {
    const all = useOf(entries.values());
    if (all.count + count > maxJobs) return { bound: 'maxJobs', isOwn: false };
    if (all.sizeBytes + sizeBytes > maxJobBytes) return { bound: 'maxJobBytes', isOwn: false };
    // Where everyone is let in, nobody is told from others.
    if (scope === '') return null;
    const own = useOf([...entries.values()].filter((entry) => entry.scope === scope));
    if (own.open + count > maxTenantJobs) return { bound: 'maxTenantJobs', isOwn: true };
    if (own.count + count > maxJobs * TENANT_SHARE) return { bound: 'maxJobs', isOwn: true };
    if (own.sizeBytes + sizeBytes <= maxTenantJobBytes) return null;
    return { bound: 'maxTenantJobBytes', isOwn: true };
  }

  /**
   * Forgets answers that were fetched, the oldest first, until there is room.
   * @throws ServeError queue_full
   */
  function makeRoom(scope: string, count: number, sizeBytes: number): void {
    for (;;) {
      const passed = passedBound(scope, count, sizeBytes);
      if (passed === null) return;
      const old = [...entries].find(
        ([, entry]) => entry.isFetched && (!passed.isOwn || entry.scope === scope),
      );
      if (old === undefined || passed.bound === 'maxTenantJobs') throw noRoom(passed.bound);
      entries.delete(old[0]);
    }
  }

  async function runWhenThereIsRoom(entry: Entry, { run }: JobWork): Promise<object> {
    const { signal } = entry.abort;
    const lastMs = clock.now() + GIVE_UP_MS;
    for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(LONGEST_RETRY_MS, 2 * waitMs)) {
      try {
        return await run(signal, () => update(entry, { status: 'running' }));
      } catch (error) {
        const isFull = ServeError.is(error) && error.code === 'queue_full';
        if (!isFull || clock.now() >= lastMs) throw error;
        update(entry, { status: 'queued' });
        await clock.sleep(Math.max(waitMs, error.retryAfterMs ?? 0), signal);
      }
    }
  }

  async function follow(entry: Entry, work: JobWork): Promise<void> {
    const { signal } = entry.abort;
    let end: JobEnd = { outcome: 'ok' };
    try {
      const answer = await room.run(() => runWhenThereIsRoom(entry, work), signal, work.places);
      const body = encodeJson(answer);
      entry.sizeBytes = 0;
      makeRoom(entry.scope, 0, body.length);
      entry.sizeBytes = body.length;
      update(entry, { status: 'completed', response: { status: 200, body } });
    } catch (error) {
      const failure = toServeError(error);
      const body = encodeJson(errorBody(failure));
      entry.sizeBytes = body.length;
      update(entry, { status: 'failed', response: { status: failure.status, body } });
      end = signal.aborted ? { outcome: 'aborted' } : { outcome: 'error', error };
    }
    entry.endedMs = clock.now();
    work.onEnd(end);
  }

  return {
    start(scope, work) {
      forgetOld();
      makeRoom(scope, 1, work.sizeBytes);
      const id = `job_${crypto.randomUUID().replaceAll('-', '')}`;
      const createdSeconds = Math.floor(clock.now() / 1000);
      const job: Job = { id, createdSeconds, status: 'queued', response: null };
      const { sizeBytes } = work;
      const abort = new AbortController();
      const entry: Entry = { scope, abort, job, sizeBytes, endedMs: null, isFetched: false };
      entries.set(id, entry);
      void follow(entry, work);
      return job;
    },
    find(scope, id) {
      const entry = entryOf(scope, id);
      if (entry === null) return null;
      entry.isFetched = entry.endedMs !== null;
      return entry.job;
    },
    remove(scope, id) {
      const entry = entryOf(scope, id);
      if (entry === null) return false;
      entries.delete(id);
      entry.abort.abort(new DOMException('the job was cancelled', 'AbortError'));
      return true;
    },
  };
}

interface Passed {
  readonly bound: keyof JobLimits;
  readonly isOwn: boolean;
}

/** What jobs take together. */
function useOf(entries: Iterable<Entry>): { count: number; open: number; sizeBytes: number } {
  const use = { count: 0, open: 0, sizeBytes: 0 };
  for (const { endedMs, sizeBytes } of entries) {
    use.count++;
    if (endedMs === null) use.open++;
    use.sizeBytes += sizeBytes;
  }
  return use;
}

function update(entry: Entry, change: Partial<Job>): void {
  entry.job = { ...entry.job, ...change };
}

function encodeJson(value: object): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function noRoom(bound: keyof JobLimits): ServeError {
  const what = bound === 'maxJobs' || bound === 'maxTenantJobs' ? 'jobs' : 'bytes of jobs';
  return new ServeError(
    'queue_full',
    `There are as many ${what} as are kept. Wait for some, fetch their answers, delete those that are not needed, or retry later.`,
    { bound },
  );
}
