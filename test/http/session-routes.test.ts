import { describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';
import type { SessionControl } from '../../src/sessions/session.ts';
import { type AppHarness, createAppHarness } from '../support/app-harness.ts';
import { createLazyHarness, settle } from '../support/lazy-harness.ts';
import { createSessionHarness, type SessionHarness } from '../support/session-harness.ts';
import { contentOfWords, words } from '../support/session-memory.ts';
import { createStubCompleter } from '../support/stub-completer.ts';

const CHAT = '/v1/chat/completions';
const messages = [{ role: 'user', content: 'Hi' }];
const hello = contentOfWords(words(0, 8));

interface Harness extends AppHarness {
  readonly sessions: SessionHarness;
  readonly call: (method: string, path: string, body?: unknown) => Promise<Response>;
}

/** A stub whose sessions are real. */
function withSessions(apiKeys?: readonly string[]): Harness {
  const sessions = createSessionHarness();
  const completer = withControl(sessions.registry);
  const app = createAppHarness({ completer, ...(apiKeys === undefined ? {} : { apiKeys }) });
  return {
    ...app,
    sessions,
    call: (method, path, body) => app.send(path, body, { method }),
  };
}

function withControl(sessions: SessionControl): ReturnType<typeof createStubCompleter> {
  return Object.assign(createStubCompleter(), { sessions });
}

function as(key: string, method = 'GET'): RequestInit {
  return { method, headers: { authorization: `Bearer ${key}` } };
}

async function json(response: Response): Promise<Record<string, unknown>> {
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

describe('/v1/sessions', () => {
  it('describes a session in seconds and tiers', async () => {
    const { call, sessions } = withSessions();
    sessions.turn('chat', hello, 'one', '');
    const session = await json(await call('GET', '/v1/sessions/chat'));
    expect(session).toEqual({
      object: 'session',
      id: 'chat',
      created_at: 1_000,
      last_used_at: 1_000,
      expires_at: 1_000 + 86_400,
      turns: 1,
      tokens: 8,
      images: 0,
      saved_tokens: 2,
      metadata: {},
      parent: null,
      tiers: {
        device: { tokens: 0 },
        host: { tokens: 8, bytes: 200 },
        store: { tokens: 8, bytes: 200 },
      },
    });
    expect(await json(await call('GET', '/v1/sessions'))).toEqual({
      object: 'list',
      data: [session],
      first_id: 'chat',
      last_id: 'chat',
      has_more: false,
    });
  });

  it('pages by limit and after', async () => {
    const { call, sessions } = withSessions();
    for (const id of ['one', 'two', 'three']) {
      sessions.turn(id, hello, undefined, '');
      sessions.clock.advance(1);
    }
    const first = await json(await call('GET', '/v1/sessions?limit=2'));
    expect(first).toMatchObject({ first_id: 'three', last_id: 'two', has_more: true });
    const second = await json(await call('GET', '/v1/sessions?limit=2&after=two'));
    expect(second).toMatchObject({ first_id: 'one', last_id: 'one', has_more: false });
    for (const query of ['limit=0', 'limit=101', 'limit=a', 'limit=', 'after=gone']) {
      const response = await call('GET', `/v1/sessions?${query}`);
      expect(response.status, query).toBe(400);
      const param = query.split('=')[0];
      expect(await response.json()).toMatchObject({ error: { param } });
    }
  });

  it('changes, forks and deletes', async () => {
    const { call, sessions } = withSessions();
    sessions.turn('chat', hello, undefined, '');
    const changed = await call('PUT', '/v1/sessions/chat', {
      metadata: { title: 'Trip' },
      ttl_seconds: 60,
    });
    expect(await json(changed)).toMatchObject({ metadata: { title: 'Trip' }, expires_at: 1_060 });
    const fork = await json(await call('POST', '/v1/sessions/chat/fork', { id: 'branch' }));
    expect(fork).toMatchObject({ id: 'branch', parent: 'chat', tokens: 8 });
    const drawn = await json(await call('POST', '/v1/sessions/chat/fork'));
    expect(drawn['id']).toMatch(/^sess_/);
    expect(await json(await call('DELETE', '/v1/sessions/chat'))).toEqual({
      id: 'chat',
      object: 'session',
      deleted: true,
    });
    for (const method of ['GET', 'DELETE']) {
      expect((await call(method, '/v1/sessions/chat')).status).toBe(404);
    }
    expect(await json(await call('GET', '/v1/sessions/branch'))).toMatchObject({
      tiers: { host: { tokens: 8 } },
    });
  });

  it('refuses bad changes by name', async () => {
    const { call, sessions } = withSessions();
    sessions.turn('chat', hello, undefined, '');
    const many = Object.fromEntries(words(0, 17).map((name) => [name, 'x']));
    for (const [path, body, param] of [
      ['', { metadata: many }, 'metadata'],
      ['', { metadata: { a: 1 } }, 'metadata.a'],
      ['', { metadata: { a: 'x'.repeat(513) } }, 'metadata.a'],
      ['', { metadata: { ['n'.repeat(65)]: 'x' } }, 'metadata'],
      ['', { metadata: 'x' }, 'metadata'],
      ['', { ttl_seconds: 0 }, 'ttl_seconds'],
      ['/fork', { id: 'a b' }, 'id'],
      ['/fork', { id: 'chat' }, 'id'],
    ] as const) {
      const method = path === '' ? 'PUT' : 'POST';
      const response = await call(method, `/v1/sessions/chat${path}`, body);
      expect(response.status, JSON.stringify(body)).toBe(400);
      expect(await response.json()).toMatchObject({ error: { param } });
    }
    expect(await json(await call('GET', '/v1/sessions/chat'))).toMatchObject({ metadata: {} });
  });

  it('finds ids that need an encoding in paths', async () => {
    const { call, sessions } = withSessions();
    const id = 'https://host/chat?a=1%2F#x';
    sessions.turn(id, hello, undefined, '');
    const path = `/v1/sessions/${encodeURIComponent(id)}`;
    expect(await json(await call('GET', path))).toMatchObject({ id });
    expect(await json(await call('POST', `${path}/fork`))).toMatchObject({ parent: id });
  });

  it('shows every key its own', async () => {
    const { send, sessions } = withSessions(['one', 'two']);
    const tenant = (await sha256Hex(new TextEncoder().encode('one'))).slice(0, 32);
    sessions.turn('chat', hello, undefined, tenant);
    const mine = await send('/v1/sessions', undefined, as('one'));
    expect(await json(mine)).toMatchObject({ first_id: 'chat' });
    expect(await json(await send('/v1/sessions', undefined, as('two')))).toMatchObject({
      data: [],
    });
    for (const method of ['GET', 'DELETE']) {
      const response = await send('/v1/sessions/chat', undefined, as('two', method));
      expect(response.status).toBe(404);
    }
    for (const [method, path, body] of [
      ['PUT', '/v1/sessions/chat', {}],
      ['POST', '/v1/sessions/chat/fork', {}],
    ] as const) {
      expect((await send(path, body, as('two', method))).status).toBe(404);
    }
    expect((await send('/v1/sessions')).status).toBe(401);
    expect((await send('/v1/sessions/chat', undefined, as('one'))).status).toBe(200);
  });

  it('is not there where no sessions are kept', async () => {
    const { send } = createAppHarness();
    const response = await send('/v1/sessions');
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({
      error: { code: 'not_found', message: 'This server keeps no sessions.' },
    });
  });

  it('waits for a cold model', async () => {
    const sessions = createSessionHarness();
    sessions.turn('chat', hello, undefined, '');
    const { lazy, clock, stubs, finish } = createLazyHarness();
    const { send } = createAppHarness({ completer: lazy, clock });
    const waiting = send('/v1/sessions/chat');
    await settle();
    finish();
    Object.assign(stubs[0] ?? {}, { sessions: sessions.registry });
    expect(await json(await waiting)).toMatchObject({ id: 'chat' });
    expect((await send('/v1/sessions/nobody')).status).toBe(404);
  });

  it('refuses for a time when a cold model takes too long, and as not found if it keeps none', async () => {
    const { lazy, clock, finish } = createLazyHarness();
    const { send } = createAppHarness({ completer: lazy, clock });
    const waiting = send('/v1/sessions');
    await settle();
    clock.advance(30_000);
    expect((await waiting).status).toBe(503);
    finish();
    await settle();
    expect((await send('/v1/sessions')).status).toBe(404);
  });
});

describe('the session of a request', () => {
  it('is named by headers before the body, and echoed', async () => {
    const { send, completer } = createAppHarness();
    const cases: readonly [Record<string, string>, object, string | null][] = [
      [{}, {}, null],
      [{}, { prompt_cache_key: null }, null],
      [{}, { prompt_cache_key: 'body' }, 'body'],
      [{ 'x-session-id': 'id' }, { prompt_cache_key: 'body' }, 'id'],
      [{ 'x-session-id': 'id', 'x-session-affinity': 'affinity' }, {}, 'affinity'],
    ];
    for (const path of [CHAT, '/v1/completions']) {
      for (const stream of [false, true]) {
        for (const [headers, fields, expected] of cases) {
          const body = { messages, prompt: ['a', 'b'], stream, ...fields };
          const response = await send(path, body, { headers });
          expect(response.status).toBe(200);
          await response.text();
          expect(response.headers.get('x-session-id')).toBe(expected);
          expect(completer.requests.at(-1)?.sessionId).toBe(expected);
        }
      }
    }
  });

  it('must be 1 to 256 visible characters in a header; any other prompt_cache_key names none', async () => {
    const { send, completer } = createAppHarness();
    for (const key of ['', 'a b', 'x'.repeat(257), '\u00e9']) {
      for (const name of ['x-session-affinity', 'x-session-id']) {
        const response = await send(CHAT, { messages }, { headers: { [name]: key } });
        expect(response.status).toBe(400);
        expect(await response.json()).toMatchObject({ error: { param: name } });
      }
    }
    expect((await send(CHAT, { messages, prompt_cache_key: 5 })).status).toBe(400);
    expect(completer.requests).toEqual([]);
    for (const key of ['', 'a b', 'x'.repeat(257), '\u00e9']) {
      const response = await send(CHAT, { messages, prompt_cache_key: key });
      expect(response.status).toBe(200);
      expect(response.headers.get('x-session-id')).toBeNull();
      expect(completer.requests.at(-1)?.sessionId).toBeNull();
    }
    expect((await send(CHAT, { messages, prompt_cache_key: '~'.repeat(256) })).status).toBe(200);
  });
});
