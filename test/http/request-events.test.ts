import { describe, expect, it } from 'vitest';
import { createAppHarness, frames } from '../support/app-harness.ts';

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
