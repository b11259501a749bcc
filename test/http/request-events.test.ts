import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createAppHarness, frames } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const messages = [{ role: 'user', content: 'Hi' }];

describe('the request id', () => {
  it('is made when missing and kept when well-formed, on errors too', async () => {
    const { send, events } = createAppHarness();
    const made = (await send('/v1/models')).headers.get('x-request-id');
    expect(made).toMatch(/^req_[0-9a-f]{32}$/);
    const kept = await send('/v1/nothing', undefined, { headers: { 'x-request-id': 'trace-1:2' } });
    expect(kept.headers.get('x-request-id')).toBe('trace-1:2');
    expect(events.map((event) => event.requestId)).toEqual([made, 'trace-1:2']);
    for (const bad of ['a b', 'x'.repeat(129), '<script>', '']) {
      const response = await send('/v1/models', undefined, { headers: { 'x-request-id': bad } });
      expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    }
  });

  it('is on streams as well', async () => {
    const { send } = createAppHarness();
    const response = await send('/v1/chat/completions', { messages, stream: true });
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    await response.body?.cancel();
  });
});

const onEvent = (): never => {
  throw new Error('log is full');
};

describe('request events', () => {
  it('report counts and times of a finished stream once', async () => {
    const { send, events } = createAppHarness();
    const response = await send('/v1/chat/completions', { messages, stream: true });
    expect(events).toEqual([]);
    await response.text();
    expect(events).toMatchObject([
      {
        type: 'request-end',
        method: 'POST',
        path: '/v1/chat/completions',
        status: 200,
        outcome: 'ok',
        errorCode: null,
        ttftMs: expect.any(Number),
        usage: {
          promptTokens: 9,
          cachedTokens: 7,
          completionTokens: 4,
          queueMs: 1,
          prefillMs: 2,
          decodeMs: 3,
        },
      },
    ]);
  });

  it('say what was asked for and when, streamed or not', async () => {
    const clock = createFakeClock(5000);
    const gate = async (at: number): Promise<void> => clock.advance(at < 0 ? 30 : 20);
    const { send, events } = createAppHarness({ clock }, { gate });
    const asked = { temperature: 0.5, top_p: 0.25, top_k: 7, seed: 42, max_tokens: 3, n: 2 };
    for (const stream of [false, true]) {
      await (await send('/v1/chat/completions', { messages, stream, ...asked })).text();
    }
    const common = {
      route: '/v1/chat/completions',
      model: STUB_CARD.id,
      completion: {
        choiceCount: 2,
        maxTokens: 3,
        temperature: 0.5,
        topP: 0.25,
        topK: 7,
        seed: 42,
      },
      finishReasons: ['length', 'length'],
      ttftMs: 50,
      e2eMs: 90,
      traceparent: null,
    };
    expect(events).toMatchObject([
      { ...common, isStream: false, startedMs: 5000 },
      { ...common, isStream: true, startedMs: 5090 },
    ]);
  });

  it('fill in the defaults of the model and the seed that was drawn', async () => {
    const { send, events } = createAppHarness({ randomSeed: () => 77 });
    await send('/v1/completions', { prompt: 'a' });
    expect(events[0]?.completion).toEqual({
      choiceCount: 1,
      maxTokens: 16,
      temperature: 1,
      topP: 0.95,
      topK: 64,
      seed: 77,
    });
  });

  it('time the first token, with text or without', async () => {
    const clock = createFakeClock();
    const gate = async (): Promise<void> => clock.advance(10);
    const { send, events } = createAppHarness({ clock }, { gate, reply: () => '' });
    await send('/v1/chat/completions', { messages });
    expect(events[0]).toMatchObject({ ttftMs: 20, usage: { completionTokens: 1 } });
  });

  it('name the route by its pattern, and none where nothing matched', async () => {
    const { send, events } = createAppHarness({ apiKeys: ['key'] });
    const headers = { authorization: 'Bearer key' };
    const get = async (path: string, init: RequestInit = { headers }): Promise<unknown> =>
      send(path, undefined, init);
    await get('/v1/models/a/b');
    await get('/v1/nothing');
    await get('/v1/completions', { method: 'PUT', headers });
    await get('/v1/completions', { method: 'POST' });
    expect(events.map(({ route, status }) => [route, status])).toEqual([
      ['/v1/models/:id', 404],
      [null, 404],
      ['/v1/completions', 405],
      ['/v1/completions', 401],
    ]);
    expect(events.every(({ completion }) => completion === null)).toBe(true);
  });

  it('hand on a valid traceparent and no other', async () => {
    const { send, events } = createAppHarness();
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    await send('/v1/models', undefined, { headers: { traceparent } });
    await send('/v1/models', undefined, { headers: { traceparent: `${traceparent}<script>` } });
    expect(events.map((event) => event.traceparent)).toEqual([traceparent, null]);
  });

  it('tell what was asked for when it failed, too', async () => {
    const error = new ServeError('out_of_memory', 'full');
    const { send, events } = createAppHarness({}, { failAfter: { tokens: 1, error } });
    await send('/v1/chat/completions', { messages, temperature: 0 });
    await send('/v1/chat/completions', { messages: 'x' });
    expect(events).toMatchObject([
      {
        outcome: 'error',
        errorCode: 'out_of_memory',
        completion: { temperature: 0 },
        finishReasons: [],
      },
      { outcome: 'error', errorCode: 'invalid_request', completion: null, usage: null },
    ]);
  });

  it('cannot break an answer', async () => {
    const { send } = createAppHarness({ onEvent });
    expect((await send('/v1/models')).status).toBe(200);
    expect(
      (await frames(await send('/v1/chat/completions', { messages, stream: true }))).length,
    ).toBeGreaterThan(1);
  });

  it('hold no prompt, answer or key', async () => {
    const { send, events } = createAppHarness({ apiKeys: ['KEY-1'] }, { reply: () => 'ANSWER' });
    const headers = { authorization: 'Bearer KEY-1' };
    await (
      await send(
        '/v1/chat/completions',
        { messages: [{ role: 'user', content: 'PROMPT' }] },
        { headers },
      )
    ).text();
    expect(events.length).toBe(1);
    expect(JSON.stringify(events)).not.toMatch(/PROMPT|ANSWER|KEY-1/);
  });
});
