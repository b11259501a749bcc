import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { type AppHarness, createAppHarness, until, untilAborted } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createLazyHarness, settle } from '../support/lazy-harness.ts';

const messages = [{ role: 'user', content: 'Hi' }];
const CHAT = '/v1/chat/completions';
const preference = { headers: { prefer: 'wait=1, Respond-Async; q=1' } };

interface JobBody {
  readonly id: string;
  readonly status: string;
  readonly response?: { readonly status_code: number; readonly body: Record<string, unknown> };
  readonly error?: { readonly code: string };
}

async function accepted(response: Response): Promise<JobBody> {
  expect(response.status).toBe(202);
  const job = (await response.json()) as JobBody;
  expect(response.headers.get('location')).toBe(`/v1/jobs/${job.id}`);
  expect(response.headers.get('preference-applied')).toBe('respond-async');
  return job;
}

async function fetched(send: AppHarness['send'], id: string): Promise<JobBody> {
  return (await send(`/v1/jobs/${id}`)).json() as Promise<JobBody>;
}

/** A request with this key. */
function as(key: string, more: RequestInit = {}): RequestInit {
  return { ...more, headers: { authorization: `Bearer ${key}`, prefer: 'respond-async' } };
}

describe('Prefer: respond-async', () => {
  it.each([
    [CHAT, { messages, n: 2, logprobs: true }],
    ['/v1/completions', { prompt: ['ab', 'c'], echo: true }],
  ])('on %s gives a job with the answer that would have been', async (path, body) => {
    const { send, events } = createAppHarness({ clock: createFakeClock() });
    const direct = (await (await send(path, body)).json()) as Record<string, unknown>;
    const job = await accepted(await send(path, body, preference));
    expect(job).toMatchObject({ object: 'job', status: 'queued', created_at: 1_000 });
    await settle();
    const done = await fetched(send, job.id);
    expect(done).toMatchObject({ status: 'completed', response: { status_code: 200 } });
    expect(done.response?.body).toEqual({ ...direct, id: done.response?.body['id'] });
    // The event comes with the end of the work, and has its counts.
    expect(events.filter(({ status }) => status === 202)).toMatchObject([
      { outcome: 'ok', isStream: false, usage: { promptTokens: expect.any(Number) } },
    ]);
  });

  it('waits for a cold model however long that takes', async () => {
    const { lazy, clock, finish } = createLazyHarness();
    const { send } = createAppHarness({ completer: lazy, clock });
    const { id } = await accepted(await send(CHAT, { messages }, preference));
    await settle();
    clock.advance(10 * 60_000);
    expect((await fetched(send, id)).status).toBe('queued');
    finish();
    await settle();
    expect((await fetched(send, id)).status).toBe('completed');
  });

  it('keeps a failure with its status', async () => {
    const { send, events } = createAppHarness(
      {},
      { failure: () => new ServeError('upstream_unavailable', 'Down.') },
    );
    const { id } = await accepted(await send(CHAT, { messages }, preference));
    await settle();
    const direct = await send(CHAT, { messages });
    const error = ((await direct.json()) as { error: object }).error;
    expect(await fetched(send, id)).toMatchObject({
      status: 'failed',
      response: { status_code: direct.status, body: { error } },
      error,
    });
    expect(events[0]).toMatchObject({
      status: 202,
      outcome: 'error',
      errorCode: 'upstream_unavailable',
    });
  });

  it('is refused for streams, and bad requests are refused at once', async () => {
    const { send, completer } = createAppHarness();
    for (const path of [CHAT, '/v1/completions']) {
      const body = { messages, prompt: 'a', stream: true };
      const response = await send(path, body, preference);
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param: 'stream' } });
    }
    expect((await send(CHAT, { messages, temperature: 3 }, preference)).status).toBe(400);
    expect(completer.requests).toEqual([]);
  });

  it('is not what other preferences mean', async () => {
    const { send } = createAppHarness();
    for (const prefer of ['', 'wait=5', 'respond-asynchronously', 'x="respond-async"']) {
      expect((await send(CHAT, { messages }, { headers: { prefer } })).status).toBe(200);
    }
  });

  it('outlives the client, and ends by DELETE', async () => {
    const { send, completer, events } = createAppHarness({}, { gate: untilAborted });
    const leaving = new AbortController();
    const init = { ...preference, signal: leaving.signal };
    const { id } = await accepted(await send(CHAT, { messages }, init));
    await until(() => completer.activeCount === 1);
    leaving.abort();
    await settle();
    expect(completer.activeCount).toBe(1);
    const removed = await send(`/v1/jobs/${id}`, undefined, { method: 'DELETE' });
    expect(await removed.json()).toEqual({ id, object: 'job', deleted: true });
    await until(() => completer.activeCount === 0);
    expect((await send(`/v1/jobs/${id}`)).status).toBe(404);
    await settle();
    expect(events.find(({ status }) => status === 202)).toMatchObject({ outcome: 'aborted' });
  });

  it('shows running once the answer has begun', async () => {
    const { send, completer } = createAppHarness(
      {},
      { gate: (at, signal) => (at < 0 ? Promise.resolve() : untilAborted(at, signal)) },
    );
    const { id } = await accepted(await send(CHAT, { messages }, preference));
    await until(() => completer.activeCount === 1);
    await settle();
    expect((await fetched(send, id)).status).toBe('running');
    await send(`/v1/jobs/${id}`, undefined, { method: 'DELETE' });
  });

  it('belongs to the key that asked', async () => {
    const { send } = createAppHarness({ apiKeys: ['one', 'two'] });
    const { id } = await accepted(await send(CHAT, { messages }, as('one')));
    const statusOf = async (init: RequestInit): Promise<number> =>
      (await send(`/v1/jobs/${id}`, undefined, init)).status;
    expect(await statusOf(as('two'))).toBe(404);
    expect(await statusOf(as('two', { method: 'DELETE' }))).toBe(404);
    expect(await statusOf({})).toBe(401);
    expect(await statusOf(as('one'))).toBe(200);
  });

  it('names the methods of a job', async () => {
    const { send } = createAppHarness();
    const response = await send('/v1/jobs/job_1', undefined, { method: 'PUT' });
    expect([response.status, response.headers.get('allow')]).toEqual([
      405,
      'GET, HEAD, DELETE, OPTIONS',
    ]);
  });
});
