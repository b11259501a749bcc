import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngine, type LocalCompleter } from '../../adapters/node/create-engine.ts';
import { createApp } from '../../src/app.ts';

interface SessionBody {
  readonly id: string;
  readonly turns: number;
  readonly tokens: number;
  readonly parent: string | null;
  readonly tiers: {
    readonly device: { readonly tokens: number };
    readonly host: { readonly tokens: number; readonly bytes: number };
    readonly store: { readonly tokens: number; readonly bytes: number };
  };
}

interface ChatBody {
  readonly choices: [{ message: { content: string } }];
  readonly usage: { total_tokens: number; prompt_tokens_details: { cached_tokens: number } };
}

const QUESTION = `Tell me ${'more and more '.repeat(30)}about it.`;

describe('named conversations on the demo model', { timeout: 60_000 }, () => {
  let folder: string;
  let completer: LocalCompleter;
  let app: ReturnType<typeof createApp>;

  const start = async (): Promise<void> => {
    completer = await createEngine({
      slots: 2,
      threads: 2,
      contextTokens: 1024,
      kvBudgetBytes: 64e6,
      kvStore: folder,
      kvRestore: 'always',
    });
    app = createApp({ completer, apiKeys: ['alice', 'bob'] });
  };
  const stop = async (): Promise<void> => {
    await completer.drain(5_000);
    await completer.close();
  };
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'gemlet-sessions-'));
    await start();
  });
  afterEach(async () => {
    await completer.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const send = (key: string, path: string, init: RequestInit = {}): Promise<Response> =>
    Promise.resolve(
      app.request(path, {
        ...init,
        headers: {
          authorization: `Bearer ${key}`,
          'content-type': 'application/json',
          ...(init.headers as Record<string, string> | undefined),
        },
      }),
    );
  const chat = async (session: string | null, messages: object[]): Promise<ChatBody> => {
    const response = await send('alice', '/v1/chat/completions', {
      method: 'POST',
      headers: session === null ? {} : { 'x-session-id': session },
      body: JSON.stringify({ temperature: 0, max_tokens: 16, messages }),
    });
    expect(response.status).toBe(200);
    return (await response.json()) as ChatBody;
  };
  const session = async (id: string, key = 'alice'): Promise<SessionBody | null> => {
    const response = await send(key, `/v1/sessions/${id}`);
    return response.ok ? ((await response.json()) as SessionBody) : null;
  };
  const pages = (): number =>
    readdirSync(folder, { recursive: true }).filter((name) => /^kv\/.*\/\d+-/.test(String(name)))
      .length;

  it('are told where they are, survive a restart, and are gone from everywhere when deleted', async () => {
    const first = [{ role: 'user', content: QUESTION }];
    const one = await chat('trip', first);
    const said = { role: 'assistant', content: one.choices[0].message.content };
    await completer.drain(0).catch(() => undefined);
    await stop();
    await start();
    const stored = await session('trip');
    expect(stored).toMatchObject({ id: 'trip', turns: 1, tokens: one.usage.total_tokens - 1 });
    expect(await session('trip', 'bob')).toBeNull();

    const second = [...first, said, { role: 'user', content: 'Go on.' }];
    const two = await chat('trip', second);
    const known = one.usage.total_tokens - 1;
    expect(two.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(known - 4);
    expect(await session('trip')).toMatchObject({ turns: 2 });
    const { tiers } = (await session('trip')) as SessionBody;
    expect(tiers.device.tokens).toBe(two.usage.total_tokens - 1);
    expect(tiers.host.tokens).toBe(two.usage.total_tokens - 1);

    expect(pages()).toBeGreaterThan(0);
    expect((await send('bob', '/v1/sessions/trip', { method: 'DELETE' })).status).toBe(404);
    expect((await send('alice', '/v1/sessions/trip', { method: 'DELETE' })).status).toBe(200);
    expect(await session('trip')).toBeNull();
    expect(pages()).toBe(0);
    const anew = await chat(null, second);
    expect(anew.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(anew.choices[0].message.content).toBe(two.choices[0].message.content);
  });

  it('fork without a copy, and a fork keeps what its parent loses', async () => {
    const first = [{ role: 'user', content: QUESTION }];
    const one = await chat('a', first);
    const body = JSON.stringify({ id: 'b' });
    expect((await send('alice', '/v1/sessions/a/fork', { method: 'POST', body })).status).toBe(200);
    expect(await session('b')).toMatchObject({ parent: 'a', tokens: one.usage.total_tokens - 1 });
    await send('alice', '/v1/sessions/a', { method: 'DELETE' });
    const said = { role: 'assistant', content: one.choices[0].message.content };
    const next = await chat('b', [...first, said, { role: 'user', content: 'And then?' }]);
    const known = one.usage.total_tokens - 1;
    expect(next.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(known - 4);
  });
});
