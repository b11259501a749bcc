import { describe, expect, it } from 'vitest';
import { startServer } from '../../adapters/node/server.ts';
import { createApp, type AppOptions } from '../../src/app.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createStubCompleter } from '../support/stub-completer.ts';

const JSON_TYPE = { 'content-type': 'application/json' };
const CHAT = JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }] });

function openApp(options: Partial<AppOptions> = {}) {
  return createApp({ completer: createStubCompleter(), ...options });
}

async function chatAt(url: string, options?: Partial<AppOptions>): Promise<Response> {
  const headers = { ...JSON_TYPE, origin: url };
  return openApp(options).request(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers,
    body: CHAT,
  });
}

async function forkWith(headers: Record<string, string>): Promise<number> {
  const init = { method: 'POST', headers };
  return (await openApp().request('/v1/sessions/mine/fork', init)).status;
}

async function metricsWith(
  options: Partial<AppOptions>,
  headers: Record<string, string> = {},
): Promise<number> {
  return (await openApp(options).request('/metrics', { headers })).status;
}

describe('a page that makes its own name lead here', () => {
  it.each([
    'http://evil.example:21044',
    'http://evil.example.',
    'http://localhost.evil.example',
    'http://127.0.0.1.nip.io',
    'http://notlocalhost:8787',
    'http://1.evil.example',
  ])('is refused as %s', async (url) => {
    const response = await chatAt(url);
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({
      error: { code: 'forbidden', message: expect.stringContaining('--allow-host') as string },
    });
    const sessions = await openApp().request(`${url}/v1/sessions/mine`, { method: 'DELETE' });
    expect(sessions.status).toBe(403);
  });

  it.each([
    'http://localhost:8787',
    'http://LOCALHOST.',
    'http://app.localhost',
    'http://127.0.0.1:1',
    'http://192.168.1.5:8787',
    'http://[::1]:8787',
    'http://[fd00::1]',
  ])('does not keep %s out', async (url) => {
    expect((await chatAt(url)).status).toBe(200);
  });

  it('may be let in by name, and is no matter where keys are asked for', async () => {
    const named = { allowedHosts: ['GPU.lan', '*.example.org'] };
    expect((await chatAt('http://gpu.lan:8787', named)).status).toBe(200);
    expect((await chatAt('http://a.b.example.org', named)).status).toBe(200);
    expect((await chatAt('http://example.org', named)).status).toBe(403);
    expect((await chatAt('http://any.example', { allowedHosts: '*' })).status).toBe(200);
    expect((await chatAt('http://any.example', { apiKeys: ['secret'] })).status).toBe(401);
    // Orchestrators ask by whatever name they have.
    expect((await openApp().request('http://any.example/health/live')).status).toBe(200);
  });
});

describe('a page that posts without asking first', () => {
  it('forks nothing', async () => {
    expect(await forkWith({ origin: 'https://evil.example' })).toBe(415);
    expect(await forkWith({ origin: 'null', 'content-type': 'text/plain' })).toBe(415);
    // There is no such session; programs may leave out the body.
    expect(await forkWith({})).not.toBe(415);
  });

  it('cannot take answers for scripts, nor show them', async () => {
    for (const path of ['/v1/models', '/health/live', '/nothing']) {
      const { headers } = await openApp().request(path);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cross-origin-resource-policy')).toBe('same-origin');
    }
  });
});

describe('guessing keys', () => {
  const KEY = 'a-key-of-32-characters-of-no-use';

  function guarded(options: Partial<AppOptions> = {}) {
    const clock = createFakeClock();
    const app = openApp({
      apiKeys: [KEY, 'another-key'],
      metricsKeys: ['metrics'],
      clock,
      ...options,
    });
    const status = async (
      key: string,
      clientAddress: string | null,
      headers: Record<string, string> = {},
      path = '/v1/models',
    ): Promise<number> => {
      const init = { headers: { 'x-api-key': key, ...headers } };
      const client = clientAddress === null ? {} : { clientAddress };
      return (await app.request(path, init, client)).status;
    };
    const flood = async (count: number, address: string | null): Promise<number> => {
      let answered = 0;
      for (let guess = 0; guess < count; guess++) {
        if ((await status(`guess-${guess}`, address)) === 401) answered++;
      }
      return answered;
    };
    return { clock, status, flood };
  }

  it('is answered 30 times a minute of 3,309, and a right guess goes unseen then', async () => {
    const { clock, status, flood } = guarded();
    expect(await flood(3_309, '203.0.113.7')).toBe(30);
    expect(await status(KEY, '203.0.113.7')).toBe(429);
    expect(await status('metrics', '203.0.113.7', {}, '/metrics')).toBe(429);
    // Two seconds are one more guess.
    clock.advance(2_000);
    expect(await status(KEY, '203.0.113.7')).toBe(200);
  });

  it('says when to come again, and is counted', async () => {
    const app = openApp({
      apiKeys: [KEY],
      metricsKeys: ['metrics'],
      clock: createFakeClock(),
      wrongKeysPerMinute: 1,
    });
    const client = { clientAddress: '203.0.113.7' };
    const ask = (key: string) =>
      app.request('/v1/models', { headers: { 'x-api-key': key } }, client);
    expect((await ask('one')).status).toBe(401);
    const refused = await ask('two');
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '60']);
    const headers = { 'x-api-key': 'metrics' };
    const text = await (await app.request('/metrics', { headers })).text();
    expect(text).toMatch(/gemlet_refused_requests_total\{.*reason="wrong_keys"\} 1\n/);
  });

  it('harms nobody at other addresses, nor keys that were used at the same one', async () => {
    const { status, flood } = guarded();
    expect(await status(KEY, '203.0.113.7')).toBe(200);
    await flood(100, '203.0.113.7');
    expect(await status(KEY, '203.0.113.7')).toBe(200);
    expect(await status('another-key', '203.0.113.8')).toBe(200);
    // All of a /64 is one; IPv4 in the clothes of IPv6 is IPv4.
    await flood(100, '2001:db8:0:1::1');
    expect(await status('guess', '2001:db8:0:1:ffff::2')).toBe(429);
    expect(await status('guess', '2001:db8:0:2::1')).toBe(401);
    expect(await status('guess', '::ffff:203.0.113.7')).toBe(429);
  });

  it('is not what a client does that keeps sending one wrong key', async () => {
    const { status } = guarded();
    for (let turn = 0; turn < 100; turn++) expect(await status('old', '203.0.113.7')).toBe(401);
    expect(await status(KEY, '203.0.113.7')).toBe(200);
  });

  it('cannot be done under names that no proxy gave', async () => {
    const bare = guarded();
    await bare.flood(100, '10.0.0.1');
    expect(await bare.status('x', '10.0.0.1', { 'x-forwarded-for': '8.8.8.8' })).toBe(429);
    const { status } = guarded({ proxies: 1 });
    const via = (key: string, forwarded: string) =>
      status(key, '10.0.0.1', { 'x-forwarded-for': forwarded });
    for (let guess = 0; guess < 40; guess++) await via(`g${guess}`, `9.9.9.${guess}, 8.8.8.8`);
    expect(await via('more', '1.1.1.1, 8.8.8.8')).toBe(429);
    expect(await via('more', '8.8.8.8, 1.1.1.1')).toBe(401);
  });

  it('is bounded over sockets as well, where the address is that of the connection', async () => {
    const app = openApp({ apiKeys: [KEY], wrongKeysPerMinute: 2, clock: createFakeClock() });
    const server = await startServer({ app, port: 0 });
    try {
      const statuses: number[] = [];
      for (const key of [KEY, 'one', 'two', 'three', KEY]) {
        const response = await fetch(`${server.url}/v1/models`, { headers: { 'x-api-key': key } });
        await response.text();
        statuses.push(response.status);
      }
      expect(statuses).toEqual([200, 401, 401, 429, 200]);
    } finally {
      await server.close();
    }
  });

  it('is bounded in memory, and not at all where nobody knows the address', async () => {
    const { status, flood } = guarded({ wrongKeysPerMinute: 1 });
    await flood(2, '203.0.113.7');
    expect(await status('x', '203.0.113.7')).toBe(429);
    for (let at = 0; at < 10_000; at++) await status('x', `10.${at >> 8}.${at & 255}.1`);
    // The oldest of 10,000 is forgotten.
    expect(await status('y', '203.0.113.7')).toBe(401);
    expect(await flood(100, null)).toBe(100);
  });
});

describe('another client that reads the counts', () => {
  it('learns nothing of the lengths of prompts, for /metrics has keys of its own', async () => {
    const app = openApp({ apiKeys: ['alpha', 'beta'], metricsKeys: () => ['counts'] });
    const ask = (key: string, path = '/metrics') =>
      app.request(path, { headers: { authorization: `Bearer ${key}` } });
    const refused = await ask('beta');
    expect(refused.status).toBe(403);
    expect(await refused.text()).not.toContain('vllm:');
    expect((await ask('counts')).status).toBe(200);
    expect((await ask('wrong')).status).toBe(401);
    expect((await ask('counts', '/v1/models')).status).toBe(401);
  });

  it('is nobody where metrics have no keys, and everybody where nobody has one', async () => {
    expect(await metricsWith({ apiKeys: ['alpha'] }, { 'x-api-key': 'alpha' })).toBe(403);
    expect(await metricsWith({})).toBe(200);
    expect(await metricsWith({ metricsKeys: ['counts'] })).toBe(401);
    expect(await metricsWith({ metricsKeys: ['counts'] }, { 'x-api-key': 'counts' })).toBe(200);
  });
});
