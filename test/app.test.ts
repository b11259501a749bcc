import { describe, expect, it } from 'vitest';
import { createAppHarness } from './support/app-harness.ts';
import { createSessionHarness } from './support/session-harness.ts';
import { contentOfWords } from './support/session-memory.ts';
import { createStubCompleter, STUB_CARD } from './support/stub-completer.ts';

const messages = [{ role: 'user', content: 'Hi' }];

describe('other routes', () => {
  it('lists the served model and finds it by its id, slashes escaped or not', async () => {
    const { send } = createAppHarness();
    const list = (await (await send('/v1/models')).json()) as { object: string; data: object[] };
    expect(list).toMatchObject({
      object: 'list',
      data: [{ id: STUB_CARD.id, object: 'model', max_model_len: 4096, precision: 'fast' }],
    });
    for (const id of [STUB_CARD.id, encodeURIComponent(STUB_CARD.id)]) {
      expect(await (await send(`/v1/models/${id}`)).json()).toEqual(list.data[0]);
    }
    const missing = await send('/v1/models/gpt-4o');
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({
      error: { code: 'model_not_found', message: expect.stringContaining(STUB_CARD.id) },
    });
  });

  it('tells startup, ready and live apart', async () => {
    const { send, completer } = createAppHarness();
    const probe = async (): Promise<number[]> =>
      Promise.all(
        ['startup', 'ready', 'live'].map(async (name) => (await send(`/health/${name}`)).status),
      );
    completer.state = 'idle';
    expect(await probe()).toEqual([200, 200, 200]);
    completer.state = 'loading';
    expect(await probe()).toEqual([503, 503, 200]);
    completer.state = 'ready';
    expect(await probe()).toEqual([200, 200, 200]);
    completer.state = 'draining';
    expect(await probe()).toEqual([200, 503, 200]);
    completer.state = 'closed';
    expect(await probe()).toEqual([200, 503, 503]);
  });

  it('turns text and messages into ids and back', async () => {
    const { send } = createAppHarness();
    const tokenize = async (body: object): Promise<unknown> =>
      (await send('/tokenize', body)).json();
    expect(await tokenize({ prompt: 'Hi' })).toEqual({
      tokens: [256, 72, 105],
      count: 3,
      max_model_len: 4096,
    });
    expect(await tokenize({ prompt: 'Hi', add_special_tokens: false })).toMatchObject({
      tokens: [72, 105],
    });
    expect(await tokenize({ messages })).toMatchObject({ count: 9 });
    expect(await tokenize({})).toMatchObject({ error: { param: 'prompt' } });
    expect(await tokenize({ prompt: 'a', messages })).toMatchObject({
      error: { param: 'messages' },
    });
    const detokenized = await send('/detokenize', { tokens: [72, 105] });
    expect(await detokenized.json()).toEqual({ prompt: 'Hi' });
    const long = await send('/detokenize', { tokens: Array(4097).fill(72) });
    expect(await long.json()).toMatchObject({ error: { param: 'tokens' } });
    expect(await (await send('/detokenize', { tokens: [72, 999] })).json()).toMatchObject({
      error: { param: 'tokens[1]' },
    });
  });

  it('answers unknown paths and methods in the shape of OpenAI', async () => {
    const { send } = createAppHarness();
    const missing = await send('/v1/nothing');
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({
      error: { code: 'not_found', type: 'invalid_request_error', param: null },
    });
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'PATCH']) {
      const response = await send('/v1/chat/completions', undefined, { method });
      expect([method, response.status, response.headers.get('allow')]).toEqual([
        method,
        405,
        'POST, OPTIONS',
      ]);
    }
    const options = await send('/v1/models', undefined, { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'GET, HEAD, OPTIONS']);
    const head = await send('/v1/models', undefined, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  it('describes exactly the fields it reads', async () => {
    const { registry, turn } = createSessionHarness();
    const completer = Object.assign(createStubCompleter(), { sessions: registry });
    const { send } = createAppHarness({ completer });
    const document = (await (await send('/openapi.json')).json()) as {
      paths: Record<string, Record<string, unknown>>;
      components: {
        schemas: Record<
          string,
          { properties: Record<string, { maximum?: number }>; required: string[] }
        >;
      };
    };
    const chat = document.components.schemas['ChatCompletionRequest'];
    expect(chat?.required).toEqual(['messages']);
    // Every documented maximum is the one that is enforced.
    let bounded = 0;
    for (const [name, { maximum }] of Object.entries(chat?.properties ?? {})) {
      if (maximum === undefined || maximum === Number.MAX_SAFE_INTEGER) continue;
      bounded++;
      const at = async (value: number): Promise<number> =>
        (await send('/v1/chat/completions', { messages, logprobs: true, [name]: value })).status;
      expect([name, await at(maximum), await at(maximum + 1)]).toEqual([name, 200, 400]);
    }
    expect(bounded).toBeGreaterThanOrEqual(7);
    const prefer = { headers: { prefer: 'respond-async' } };
    const job = (await (await send('/v1/completions', { prompt: 'a' }, prefer)).json()) as {
      id: string;
    };
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const method of Object.keys(methods)) {
        const id = path.includes('jobs') ? job.id : encodeURIComponent(STUB_CARD.id);
        const target = path.replace('{id}', id);
        // One of them deletes it.
        turn(STUB_CARD.id, contentOfWords([1]), undefined, '');
        const status = (await send(target, undefined, { method: method.toUpperCase() })).status;
        expect([path, [404, 405].includes(status)]).toEqual([path, false]);
      }
    }
    for (const { $ref } of refsOf(document)) {
      expect(
        document.components.schemas[$ref.replace('#/components/schemas/', '')],
        $ref,
      ).toBeDefined();
    }
  });
});

function refsOf(value: unknown): { $ref: string }[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = '$ref' in value ? [value as { $ref: string }] : [];
  return [...own, ...Object.values(value).flatMap(refsOf)];
}
