import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../../src/app.ts';
import { createStubCompleter } from '../../support/stub-completer.ts';

const completer = createStubCompleter();
const app = createApp({
  completer,
  apiKeys: ['alpha', 'beta-2'],
  cors: { origins: ['https://web.example'] },
});

async function statusOf(path: string, headers: Record<string, string> = {}): Promise<number> {
  return (await app.request(path, { headers })).status;
}

/** The scope of a chat with these headers. */
async function scopeOf(headers: Record<string, string>): Promise<string | undefined> {
  const body = JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }] });
  const init = { method: 'POST', headers: { 'content-type': 'application/json', ...headers } };
  expect((await app.request('/v1/chat/completions', { ...init, body })).status).toBe(200);
  return completer.requests.at(-1)?.scope;
}

describe('API keys', () => {
  it('open every route, as bearer or x-api-key', async () => {
    expect(await statusOf('/v1/models', { authorization: 'Bearer alpha' })).toBe(200);
    expect(await statusOf('/v1/models', { authorization: 'bearer  beta-2 ' })).toBe(200);
    expect(await statusOf('/v1/models', { 'x-api-key': 'beta-2' })).toBe(200);
  });

  it.each(['', 'alph', 'alphaa', 'Alpha', 'beta', 'Bearer', 'alpha beta-2'])(
    'refuse %j',
    async (key) => {
      expect(await statusOf('/v1/models', { authorization: `Bearer ${key}` })).toBe(401);
      if (key !== '') expect(await statusOf('/v1/models', { 'x-api-key': key })).toBe(401);
    },
  );

  it('do not fall for other schemes', async () => {
    expect(await statusOf('/v1/models', { authorization: 'Basic alpha' })).toBe(401);
    expect(await statusOf('/v1/models', { authorization: 'alpha' })).toBe(401);
  });

  it('guard all paths but live and ready, unknown ones included', async () => {
    for (const path of [
      '/v1/models',
      '/openapi.json',
      '/health/startup',
      '/nothing',
      '/health/live/',
      '/health/ready/x',
    ]) {
      expect([path, await statusOf(path)]).toEqual([path, 401]);
    }
    expect(await statusOf('/health/live')).toBe(200);
    expect(await statusOf('/health/ready')).toBe(200);
  });

  it('are checked before the body is read', async () => {
    let pulled = 0;
    const body = new ReadableStream({ pull: () => void pulled++ }, { highWaterMark: 0 });
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit;
    expect((await app.request('/v1/chat/completions', init)).status).toBe(401);
    expect(pulled).toBe(0);
  });

  it('answer in the shape of OpenAI, without the key', async () => {
    const response = await app.request('/v1/models', {
      headers: { authorization: 'Bearer WRONG-KEY' },
    });
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({
      error: { type: 'authentication_error', code: 'invalid_api_key' },
    });
    expect(text).not.toContain('WRONG-KEY');
    expect(response.headers.get('x-should-retry')).toBe('false');
    expect(response.headers.get('x-request-id')).not.toBeNull();
  });

  it('make whoever shows them a tenant, named by half the digest of the key', async () => {
    const digest = createHash('sha256').update('alpha').digest('hex');
    expect(await scopeOf({ authorization: 'Bearer alpha' })).toBe(digest.slice(0, 32));
    expect(await scopeOf({ 'x-api-key': 'alpha' })).toBe(digest.slice(0, 32));
    const other = await scopeOf({ 'x-api-key': 'beta-2' });
    expect(other).toMatch(/^[0-9a-f]{32}$/);
    expect(other).not.toBe(digest.slice(0, 32));
  });

  it('cannot be an empty list or an empty string', () => {
    expect(() => createApp({ completer, apiKeys: [] })).toThrow(TypeError);
    expect(() => createApp({ completer, apiKeys: ['a', ' '] })).toThrow(TypeError);
    expect(() => createApp({ completer, apiKeys: ['sha256:12'] })).toThrow('64 hex digits');
  });

  it('may be given as digests, which open nothing themselves', async () => {
    const hashed = `sha256:${createHash('sha256').update('alpha').digest('hex')}`;
    const closed = createApp({ completer, apiKeys: [hashed] });
    const status = async (key: string): Promise<number> =>
      (await closed.request('/v1/models', { headers: { authorization: `Bearer ${key}` } })).status;
    expect(await status('alpha')).toBe(200);
    expect(await status(hashed)).toBe(401);
    expect(await status(hashed.slice('sha256:'.length))).toBe(401);
  });

  it('may change while the server runs, and without any nobody is let in', async () => {
    let keys: readonly string[] = ['old'];
    const changing = createApp({ completer, apiKeys: () => keys });
    const status = async (key: string): Promise<number> =>
      (await changing.request('/v1/models', { headers: { 'x-api-key': key } })).status;
    expect([await status('old'), await status('new')]).toEqual([200, 401]);
    keys = ['new'];
    expect([await status('old'), await status('new')]).toEqual([401, 200]);
    keys = [];
    const response = await changing.request('/v1/models', { headers: { 'x-api-key': 'new' } });
    expect(response.status).toBe(401);
    expect(await response.text()).toContain('answers its gateways only');
  });
});

const preflight = (origin: string): Promise<Response> =>
  Promise.resolve(
    app.request('/v1/chat/completions', {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, content-type',
      },
    }),
  );

describe('CORS', () => {
  it('answers preflights of listed origins without a key', async () => {
    const response = await preflight('https://web.example');
    expect(response.status).toBe(204);
    expect(response.headers.get('access-control-allow-origin')).toBe('https://web.example');
    expect(response.headers.get('access-control-allow-headers')).toContain('authorization');
  });

  it('lets no other origin in', async () => {
    expect(
      (await preflight('https://evil.example')).headers.get('access-control-allow-origin'),
    ).toBeNull();
  });

  it('shows errors and request ids to pages', async () => {
    const response = await app.request('/v1/models', {
      headers: { origin: 'https://web.example' },
    });
    expect(response.status).toBe(401);
    expect(response.headers.get('access-control-allow-origin')).toBe('https://web.example');
    expect(response.headers.get('access-control-expose-headers')).toContain('x-request-id');
  });

  it('is off unless asked for', async () => {
    const plain = createApp({ completer });
    const response = await plain.request('/v1/models', {
      headers: { origin: 'https://web.example' },
    });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
  });
});
