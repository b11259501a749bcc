import { describe, expect, it } from 'vitest';
import { ServeError } from '../src/errors.ts';
import { createJobs, type JobEnd, type JobWork } from '../src/jobs.ts';
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

const quick: JobWork = { run: async () => body, onEnd: () => undefined };

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
      response: { status: 200, body },
    });
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
      response: { status: 400, body: { error: { code: 'context_length_exceeded' } } },
    });
    expect(second).toMatchObject({ response: { status: 500 } });
    expect(JSON.stringify(second)).not.toContain('SECRET');
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
    const jobs = createJobs({ clock, maxJobs: 2 });
    jobs.start('a', quick);
    const { id } = jobs.start('b', quick);
    await settle();
    expect(thrownBy(() => jobs.start('c', quick))).toMatchObject({ code: 'queue_full' });
    jobs.remove('b', id);
    jobs.start('c', quick);
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
});
