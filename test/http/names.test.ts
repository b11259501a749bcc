import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createAppHarness, frames } from '../support/app-harness.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const CHAT = '/v1/chat/completions';
const TEXT = '/v1/completions';
const messages = [{ role: 'user', content: 'Hi' }];

interface Listed {
  readonly data: readonly { readonly id: string; readonly root: string }[];
}
interface Refusal {
  readonly error: { readonly message: string; readonly param: string | null };
}

const fingerprints = async (version: string, card: object): Promise<Set<unknown>> => {
  const { send } = createAppHarness({ version }, { card });
  const bodies = [
    [CHAT, { messages }],
    [TEXT, { prompt: 'a' }],
  ] as const;
  const seen = new Set<unknown>();
  for (const [path, body] of bodies) {
    const whole = (await (await send(path, body)).json()) as Record<string, unknown>;
    const chunks = await frames(await send(path, { ...body, stream: true }));
    for (const each of [whole, ...chunks]) seen.add(each['system_fingerprint']);
  }
  return seen;
};

describe('names of the model', () => {
  it('are its own and its aliases, while answers bear its own', async () => {
    const { send } = createAppHarness({ models: { aliases: ['gpt-4o', 'org/gemma'] } });
    for (const model of [STUB_CARD.id, 'gpt-4o', 'org/gemma']) {
      const answer = await (await send(CHAT, { model, messages })).json();
      expect(answer).toMatchObject({ model: STUB_CARD.id });
      const named = await (await send(`/v1/models/${model}`)).json();
      expect(named).toMatchObject({ id: model, root: STUB_CARD.id });
    }
    const { data } = (await (await send('/v1/models')).json()) as Listed;
    expect(data.map(({ id, root }) => [id, root])).toEqual(
      [STUB_CARD.id, 'gpt-4o', 'org/gemma'].map((id) => [id, STUB_CARD.id]),
    );
    expect((await send(CHAT, { model: 'gpt-5', messages })).status).toBe(404);
    expect((await send('/tokenize', { model: 'gpt-4o', prompt: 'a' })).status).toBe(200);
  });

  it('are all names when any is accepted', async () => {
    const { send } = createAppHarness({ models: { acceptsAny: true } });
    const answer = await (await send(TEXT, { model: 'whatever', prompt: 'a' })).json();
    expect(answer).toMatchObject({ model: STUB_CARD.id });
    expect((await send('/v1/models/whatever')).status).toBe(200);
  });
});

describe('fingerprints', () => {
  it('are the same in every object, and others for another checkpoint, precision or version', async () => {
    const all = [
      await fingerprints('1', { fingerprint: 'a' }),
      await fingerprints('2', { fingerprint: 'a' }),
      await fingerprints('1', { fingerprint: 'b' }),
      await fingerprints('1', { fingerprint: 'a', precision: 'exact' }),
    ];
    expect(all.map(({ size }) => size)).toEqual([1, 1, 1, 1]);
    const values = all.flatMap((each) => [...each]);
    expect(new Set(values).size).toBe(4);
    for (const value of values) expect(value).toMatch(/^fp_[0-9a-f]{16}$/);
    expect(await fingerprints('1', { fingerprint: 'a' })).toEqual(all[0]);
  });

  it('are left out where the checkpoint is not known', async () => {
    expect(await fingerprints('1', {})).toEqual(new Set([undefined]));
  });
});

describe('what is too long', () => {
  it('is said in the words that clients look for, with the numbers and the field', async () => {
    const { completer } = createFakeEngineCompleter();
    const { send } = createAppHarness({ completer });
    const { contextTokens } = completer.model;
    const ask = async (path: string, body: object): Promise<Refusal['error']> => {
      const response = await send(path, body);
      expect(response.status).toBe(400);
      return ((await response.json()) as Refusal).error;
    };
    const chat = await ask(CHAT, { messages, max_tokens: 32_000 });
    expect(chat).toMatchObject({ code: 'context_length_exceeded', param: 'messages' });
    const [, limit, total, prompt, completion, most] =
      /^This model's maximum context length is (\d+) tokens\. However, you requested (\d+) tokens \((\d+) in the prompt, (\d+) in the completion\)\. .*at most (\d+)\.$/.exec(
        chat.message,
      ) ?? [];
    expect([Number(limit), Number(completion)]).toEqual([contextTokens, 32_000]);
    expect(Number(prompt) + 32_000).toBe(Number(total));
    const fits = await send(CHAT, { messages, max_tokens: Number(most), stop: ['a', 'e', ' '] });
    expect(fits.status).toBe(200);

    const text = await ask(TEXT, { prompt: 'a'.repeat(contextTokens * 20) });
    expect(text).toMatchObject({ code: 'context_length_exceeded', param: 'prompt' });
    expect(text.message).toMatch(/maximum context length is \d+ tokens\. However/);
  });

  it('keeps the field that somebody else named', async () => {
    const failure = new ServeError('context_length_exceeded', 'Too long.', { param: 'x' });
    const { send } = createAppHarness({}, { failure: () => failure });
    const { error } = (await (await send(CHAT, { messages })).json()) as Refusal;
    expect(error.param).toBe('x');
  });

  it('is never the default of the model card sent back', async () => {
    const { completer } = createFakeEngineCompleter();
    const { send } = createAppHarness({ completer });
    const { data } = (await (await send('/v1/models')).json()) as {
      readonly data: readonly { readonly defaults: { readonly max_tokens: number } }[];
    };
    const sent = data[0]?.defaults.max_tokens ?? 0;
    expect(sent).toBeLessThan(completer.model.contextTokens);
    const body = { messages, max_tokens: sent, stop: ['a', 'e', ' '] };
    expect((await send(CHAT, body)).status).toBe(200);
  });
});

describe('paths of other APIs', () => {
  it('are not there, and say so as their clients read it', async () => {
    const { send } = createAppHarness({ apiKeys: ['key'] });
    const headers = { authorization: 'Bearer key' };
    const post = async (path: string, init: RequestInit = { headers }): Promise<Response> =>
      send(path, {}, init);
    const gemini = await post('/v1/models/gemma:generateContent');
    expect([gemini.status, await gemini.json()]).toMatchObject([
      404,
      { error: { code: 'not_found' } },
    ]);
    expect((await post('/v1/models/gemma')).status).toBe(405);
    const ollama = await post('/api/chat');
    expect([ollama.status, await ollama.json()]).toEqual([
      404,
      { error: expect.stringContaining('/api/chat') },
    ]);
    const unknown = await post('/api/chat', {});
    expect([unknown.status, await unknown.json()]).toEqual([
      401,
      { error: expect.stringContaining('key') },
    ]);
  });

  it('tell the version to whoever may ask', async () => {
    const { send } = createAppHarness({ apiKeys: ['key'], version: '1.2.3' });
    expect((await send('/version')).status).toBe(401);
    const response = await send('/version', undefined, { headers: { 'x-api-key': 'key' } });
    expect(await response.json()).toEqual({ version: '1.2.3' });
  });
});

describe('log probabilities', () => {
  it('name tokens by their ids when asked to', async () => {
    const { send } = createAppHarness({}, { reply: () => 'ab' });
    const asIds = { return_tokens_as_token_ids: true };
    for (const stream of [false, true]) {
      const text = { prompt: 'x', echo: true, logprobs: 2, stream, ...asIds };
      const chat = { messages, logprobs: true, top_logprobs: 2, stream, ...asIds };
      for (const [path, body] of [
        [TEXT, text],
        [CHAT, chat],
      ] as const) {
        const answer = await (await send(path, body)).text();
        expect(answer).toContain('"token_id:97"');
        expect(answer).not.toContain('"token":"a"');
        expect(answer).not.toContain('"tokens":["a"');
      }
    }
  });
});

describe('POST /tokenize', () => {
  it("takes llama.cpp's fields, with its default of no <bos>", async () => {
    const { send } = createAppHarness();
    const tokens = async (body: object): Promise<unknown> =>
      ((await (await send('/tokenize', body)).json()) as { readonly tokens: unknown }).tokens;
    expect(await tokens({ content: 'ab' })).toEqual([97, 98]);
    expect(await tokens({ content: 'ab', add_special: true })).toEqual([256, 97, 98]);
    expect(await tokens({ prompt: 'ab' })).toEqual([256, 97, 98]);
    const both = await send('/tokenize', { content: 'ab', prompt: 'ab' });
    expect([both.status, await both.json()]).toMatchObject([400, { error: { param: 'prompt' } }]);
  });
});
