import { describe, expect, it } from 'vitest';
import { ServeError } from '../src/errors.ts';
import { createJobs, type Job, type JobEnd, type JobWork } from '../src/jobs.ts';
import { createFakeClock } from './support/fake-clock.ts';
import { settle } from './support/lazy-harness.ts';
import { thrownBy } from './support/thrown-by.ts';

const body = { text: 'done' };

/** Work that starts at once and ends when it is told to. */
function controlled(): JobWork & {
  readonly ends: JobEnd[];
  finish(): void;
  fail(error: unknown): void;
} {
  const ends: JobEnd[] = [];
  let resolve: ((value: object) => void) | undefined;
  let reject: ((error: unknown) => void) | undefined;
  return {
    ends,
    sizeBytes: 0,
    places: 1,
    finish: () => resolve?.(body),
    fail: (error) => reject?.(error),
    onEnd: (end) => void ends.push(end),
    run(signal, onStart) {
      onStart();
      return new Promise((done, failed) => {
        resolve = done;
        reject = failed;
        signal.addEventListener('abort', () => failed(signal.reason), { once: true });
      });
    },
  };
}

const quick: JobWork = {
  run: async () => body,
  onEnd: () => undefined,
  sizeBytes: 0,
  places: 1,
};

/** Work whose answer takes about so many bytes. */
function answering(sizeBytes: number): JobWork {
  return { ...quick, run: async () => ({ text: 'x'.repeat(sizeBytes) }) };
}

/** The kept answer, as its reader gets it. */
function bodyOf(job: Job | null): unknown {
  return JSON.parse(new TextDecoder().decode(job?.response?.body));
}

describe('jobs', () => {
  it('go from queued over running to completed, and report their end once', async () => {
    const jobs = createJobs({ clock: createFakeClock(9_000) });
    const work = controlled();
    const job = jobs.start('a', work);
    expect(job).toMatchObject({
      id: expect.stringMatching(/^job_[0-9a-f]{32}$/),
      createdSeconds: 9,
      status: 'queued',
      response: null,
    });
    await settle();
    expect(jobs.find('a', job.id)?.status).toBe('running');
    work.finish();
    await settle();
    expect(jobs.find('a', job.id)).toMatchObject({
      status: 'completed',
      response: { status: 200 },
    });
    expect(bodyOf(jobs.find('a', job.id))).toEqual(body);
    expect(work.ends).toEqual([{ outcome: 'ok' }]);
  });

  it('keep a failure as the answer it would have been', async () => {
    const jobs = createJobs({ clock: createFakeClock() });
    const known = controlled();
    const unknown = controlled();
    const ids = [known, unknown].map((work) => jobs.start('a', work).id);
    await settle();
    known.fail(new ServeError('context_length_exceeded', 'Too long.'));
    unknown.fail(new Error('SECRET'));
    await settle();
    const [first, second] = ids.map((id) => jobs.find('a', id));
    expect(first).toMatchObject({
      status: 'failed',
      response: { status: 400 },
    });
    expect(bodyOf(first ?? null)).toMatchObject({ error: { code: 'context_length_exceeded' } });
    expect(second).toMatchObject({ response: { status: 500 } });
    expect(JSON.stringify(bodyOf(second ?? null))).not.toContain('SECRET');
    expect(unknown.ends).toMatchObject([{ outcome: 'error', error: { message: 'SECRET' } }]);
  });

  it('are seen and removed by their own scope only', async () => {
    const jobs = createJobs({ clock: createFakeClock() });
    const work = controlled();
    const { id } = jobs.start('a', work);
    await settle();
    expect([jobs.find('b', id), jobs.remove('b', id), jobs.find('a', 'job_x')]).toEqual([
      null,
      false,
      null,
    ]);
    expect(jobs.remove('a', id)).toBe(true);
    await settle();
    expect(work.ends).toEqual([{ outcome: 'aborted' }]);
    expect(jobs.find('a', id)).toBeNull();
  });

  it('are kept for 15 minutes after their end, however long they ran', async () => {
    const clock = createFakeClock();
    const jobs = createJobs({ clock });
    const work = controlled();
    const { id } = jobs.start('a', work);
    await settle();
    clock.advance(60 * 60_000);
    expect(jobs.find('a', id)?.status).toBe('running');
    work.finish();
    await settle();
    clock.advance(15 * 60_000 - 1);
    expect(jobs.find('a', id)?.status).toBe('completed');
    clock.advance(1);
    expect(jobs.find('a', id)).toBeNull();
  });

  it('are bounded, old ones included, until these are forgotten', async () => {
    const clock = createFakeClock();
    const jobs = createJobs({ clock, maxJobs: 4 });
    const [first, second] = ['a', 'b', 'c', 'd'].map((scope) => jobs.start(scope, quick).id);
    await settle();
    expect(thrownBy(() => jobs.start('e', quick))).toMatchObject({ code: 'queue_full' });
    jobs.remove('a', first ?? '');
    jobs.start('e', quick);
    // Whose answer was fetched makes room for others.
    expect(jobs.find('b', second ?? '')?.status).toBe('completed');
    jobs.start('f', quick);
    expect(jobs.find('b', second ?? '')).toBeNull();
    expect(thrownBy(() => jobs.start('g', quick))).toMatchObject({ code: 'queue_full' });
    clock.advance(15 * 60_000);
    jobs.start('d', quick);
  });

  it('wait for room, in order; one that is removed meanwhile never runs', async () => {
    const jobs = createJobs({ clock: createFakeClock(), maxRunning: 1 });
    const works = [controlled(), controlled(), controlled()];
    const ids = works.map((work) => jobs.start('a', work).id);
    const statuses = (): unknown[] => ids.map((id) => jobs.find('a', id)?.status);
    await settle();
    expect(statuses()).toEqual(['running', 'queued', 'queued']);
    jobs.remove('a', ids[1] ?? '');
    works[0]?.finish();
    await settle();
    expect(statuses()).toEqual(['completed', undefined, 'running']);
    expect(works[1]?.ends).toEqual([{ outcome: 'aborted' }]);
    works[2]?.finish();
    await settle();
  });

  it('leave room for those of others', () => {
    const jobs = createJobs({ clock: createFakeClock(), maxJobs: 40, maxTenantJobs: 3 });
    for (let index = 0; index < 3; index++) jobs.start('a', controlled());
    expect(thrownBy(() => jobs.start('a', quick))).toMatchObject({
      code: 'queue_full',
      bound: 'maxTenantJobs',
    });
    jobs.start('b', quick);
  });

  it('take no more than a quarter for answers that one key never fetches', async () => {
    const jobs = createJobs({ clock: createFakeClock(), maxJobs: 8 });
    for (let index = 0; index < 2; index++) jobs.start('a', quick);
    await settle();
    expect(thrownBy(() => jobs.start('a', quick))).toMatchObject({ bound: 'maxJobs' });
    jobs.start('b', quick);
    // Without keys nobody is told from others.
    for (let index = 0; index < 5; index++) jobs.start('', quick);
  });

  it('are bounded in the bytes of what waits, for one key and for all', () => {
    const limits = { maxJobBytes: 100, maxTenantJobBytes: 60 };
    const jobs = createJobs({ clock: createFakeClock(), ...limits });
    const big = (): JobWork => ({ ...controlled(), sizeBytes: 50 });
    jobs.start('a', big());
    const own = thrownBy(() => jobs.start('a', big()));
    expect(own).toMatchObject({ code: 'queue_full', bound: 'maxTenantJobBytes' });
    const { id } = jobs.start('b', big());
    expect(thrownBy(() => jobs.start('c', big()))).toMatchObject({ bound: 'maxJobBytes' });
    jobs.remove('b', id);
    jobs.start('c', big());
  });

  it('are bounded in the bytes of what is kept: fetched answers go first', async () => {
    const jobs = createJobs({ clock: createFakeClock(), maxTenantJobBytes: 250 });
    const [fetched, kept] = [answering(80), answering(80)].map((work) => jobs.start('a', work).id);
    await settle();
    jobs.find('a', fetched ?? '');
    const third = jobs.start('a', answering(80)).id;
    await settle();
    expect(jobs.find('a', fetched ?? '')).toBeNull();
    expect(jobs.find('a', third)?.status).toBe('completed');
    const tooLarge = jobs.start('b', answering(300)).id;
    await settle();
    expect(jobs.find('b', tooLarge)).toMatchObject({ status: 'failed', response: { status: 429 } });
    expect(jobs.find('a', kept ?? '')?.status).toBe('completed');
  });

  it('wait where the engine has no room, and begin anew', async () => {
    const clock = createFakeClock();
    const jobs = createJobs({ clock });
    const full = new ServeError('queue_full', 'Busy.');
    let tries = 0;
    const run: JobWork['run'] = async (_, onStart) => {
      onStart();
      if (++tries < 3) throw full;
      return body;
    };
    const { id } = jobs.start('a', { ...quick, run });
    await settle();
    expect([tries, jobs.find('a', id)?.status]).toEqual([1, 'queued']);
    clock.advance(1_000);
    await settle();
    expect(tries).toBe(2);
    clock.advance(1_999);
    await settle();
    expect(tries).toBe(2);
    clock.advance(1);
    await settle();
    expect([tries, jobs.find('a', id)?.status]).toEqual([3, 'completed']);
  });

  it('give up in the end where there is never room', async () => {
    const clock = createFakeClock();
    const jobs = createJobs({ clock });
    const run = (): Promise<never> => Promise.reject(new ServeError('queue_full', 'Busy.'));
    const { id } = jobs.start('a', { ...quick, run });
    for (let minute = 0; minute < 70; minute++) {
      await settle();
      clock.advance(60_000);
    }
    expect(jobs.find('a', id) ?? 'forgotten').toMatchObject({ status: 'failed' });
  });

  it('of several choices take several places', async () => {
    const jobs = createJobs({ clock: createFakeClock(), maxRunning: 4 });
    const works = [3, 2, 9].map((places) => ({ ...controlled(), places }));
    const ids = works.map((work) => jobs.start('a', work).id);
    const statuses = (): unknown[] => ids.map((id) => jobs.find('a', id)?.status);
    await settle();
    expect(statuses()).toEqual(['running', 'queued', 'queued']);
    works[0]?.finish();
    await settle();
    expect(statuses()).toEqual(['completed', 'running', 'queued']);
    works[1]?.finish();
    await settle();
    expect(statuses()[2]).toBe('running');
    works[2]?.finish();
    await settle();
  });
});
