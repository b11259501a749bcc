import { describe, expect, it } from 'vitest';
import { duration } from '../../../src/http/doors/rate-limits.ts';
import { createAppHarness, type AppHarness } from '../../support/app-harness.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const KEYS = ['alpha', 'beta'];
const messages = [{ role: 'user', content: 'Hi' }];

function harness(rates: { requestsPerMinute?: number; tokensPerMinute?: number }) {
  const clock = createFakeClock();
  const app = createAppHarness({ apiKeys: KEYS, metricsKeys: ['m'], rates, clock });
  const ask = (key: string, body: object = { messages }, path = '/v1/chat/completions') =>
    app.send(path, body, { headers: { 'x-api-key': key } });
  return { ...app, clock, ask };
}

const limitsOf = ({ headers }: Response) =>
  Object.fromEntries(
    Array.from(headers)
      .filter(([name]) => name.startsWith('x-ratelimit-'))
      .map(([name, value]) => [name.replace('x-ratelimit-', ''), value]),
  );

async function refusedBy(send: AppHarness['send'], reason: string): Promise<string | undefined> {
  const text = await (await send('/metrics', undefined, { headers: { 'x-api-key': 'm' } })).text();
  return new RegExp(`gemlet_refused_requests_total\\{.*reason="${reason}"\\} (\\d+)`).exec(
    text,
  )?.[1];
}

describe('requests a minute', () => {
  it('are counted by key, and come back as time passes', async () => {
    const { ask, clock, send } = harness({ requestsPerMinute: 2 });
    const first = await ask('alpha');
    expect([first.status, limitsOf(first)]).toEqual([
      200,
      { 'limit-requests': '2', 'remaining-requests': '1', 'reset-requests': '30s' },
    ]);
    expect((await ask('alpha')).status).toBe(200);
    const refused = await ask('alpha');
    expect(refused.status).toBe(429);
    expect(await refused.json()).toMatchObject({
      error: {
        code: 'rate_limit_exceeded',
        type: 'rate_limit_error',
        message: 'The limit of 2 requests a minute is reached. Retry in 30 s.',
      },
    });
    expect(refused.headers.get('retry-after')).toBe('30');
    expect(limitsOf(refused)).toMatchObject({ 'remaining-requests': '0' });
    expect((await ask('beta')).status).toBe(200);
    clock.advance(29_999);
    expect((await ask('alpha')).status).toBe(429);
    clock.advance(1);
    expect((await ask('alpha')).status).toBe(200);
    expect(await refusedBy(send, 'rate_requests')).toBe('2');
  });

  it('are not counted for reading, for probes, and for whoever has no key', async () => {
    const { ask, send } = harness({ requestsPerMinute: 1 });
    const reading = { headers: { 'x-api-key': 'alpha' } };
    for (let turn = 0; turn < 5; turn++) {
      expect((await send('/v1/models', undefined, reading)).status).toBe(200);
      expect((await send('/health/live')).status).toBe(200);
      expect((await ask('wrong')).status).toBe(401);
    }
    expect((await ask('alpha')).status).toBe(200);
  });
});

describe('tokens a minute', () => {
  it.each([false, true])('are counted as they pass, streamed: %s', async (stream) => {
    const { ask, clock } = harness({ tokensPerMinute: 20 });
    // The stub's prompt has 9 tokens and its answer 4.
    for (let turn = 0; turn < 2; turn++) {
      const response = await ask('alpha', { messages, stream });
      expect(response.status).toBe(200);
      await response.text();
    }
    const refused = await ask('alpha');
    expect(refused.status).toBe(429);
    expect(await refused.text()).toContain('20 tokens a minute');
    // 26 of 20 were spent: what was too much is waited for.
    expect(refused.headers.get('retry-after')).toBe('21');
    expect(limitsOf(refused)).toMatchObject({ 'limit-tokens': '20', 'remaining-tokens': '0' });
    expect((await ask('beta')).status).toBe(200);
    clock.advance(21_000);
    expect((await ask('alpha')).status).toBe(200);
  });

  it('of each choice count, and a prompt once', async () => {
    const { ask } = harness({ tokensPerMinute: 100 });
    const response = await ask('alpha', { messages, n: 3 });
    expect(limitsOf(response)).toMatchObject({ 'remaining-tokens': String(100 - 9 - 3 * 4) });
  });
});

it('is off by default, and cannot be less than one', async () => {
  const { send } = createAppHarness({});
  expect(limitsOf(await send('/v1/chat/completions', { messages }))).toEqual({});
  expect(() => createAppHarness({ rates: { requestsPerMinute: 0 } })).toThrow(RangeError);
});

it.each([
  [0, '0ms'],
  [16.2, '17ms'],
  [1_500, '1.5s'],
  [360_000, '6m0s'],
])('writes %d ms as OpenAI does', (ms, text) => {
  expect(duration(ms)).toBe(text);
});
