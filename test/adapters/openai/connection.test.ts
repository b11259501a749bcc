import { afterEach, describe, expect, it } from 'vitest';
import { createUpstreamCompleter } from '../../../adapters/openai/completer.ts';
import { createApp } from '../../../src/app.ts';
import { until } from '../../support/app-harness.ts';
import { collect, textOf } from '../../support/completions.ts';
import { createFakeClock } from '../../support/fake-clock.ts';
import { rejectedBy, thrownBy } from '../../support/thrown-by.ts';
import {
  BY_IDS,
  CHAT,
  createPauseClock,
  createUpstreamHarness,
  plainRequest,
} from '../../support/upstream-harness.ts';

const harness = createUpstreamHarness();
const { start } = harness;

afterEach(() => harness.close());

describe('a server that loads', () => {
  it('is waited for, once for all', async () => {
    const clock = createFakeClock();
    const { upstream, completer } = await start({ kind: 'llama.cpp', loadingCount: 2 }, { clock });
    expect(completer.state).toBe('idle');
    const answers = [1, 2].map(() => collect(completer.complete(plainRequest())));
    for (const looks of [1, 2]) {
      const health = (): number =>
        upstream.requests.filter((line) => line === 'GET /health').length;
      await until(() => health() === looks && clock.sleeping() === 1);
      expect(completer.state).toBe('loading');
      expect(completer.progress?.()).toMatchObject({ phase: 'describing' });
      clock.advance(5_000);
    }
    for (const answer of answers) expect(textOf(await answer)).toBe('Hé5');
    expect(completer.state).toBe('ready');
    expect(completer.progress?.()).toBeNull();
    expect(upstream.requests.filter((line) => line === 'GET /v1/models')).toHaveLength(3);
  });

  it('is given up after too long', async () => {
    const { completer } = await start(
      { kind: 'vllm', loadingCount: 1_000 },
      { clock: createPauseClock(), coldMs: 60_000 },
    );
    const ready = completer.ready?.() ?? Promise.resolve();
    expect(await rejectedBy(ready)).toMatchObject({ code: 'model_loading', retryAfterMs: 60_000 });
    expect(completer.state).toBe('idle');
  });

  it('makes requests wait, and health routes say so, while the gateway itself is ready', async () => {
    const clock = createFakeClock();
    const { completer } = await start({ kind: 'vllm', loadingCount: 1 }, { clock });
    const app = createApp({ completer, clock });
    const health = async (): Promise<object> => {
      const response = await app.request('/health/ready');
      return { status: response.status, ...((await response.json()) as object) };
    };
    expect(await health()).toMatchObject({ status: 'ok', fleet: { state: 'cold' } });
    const models = app.request('/v1/models');
    await until(() => completer.state === 'loading' && clock.sleeping() > 0);
    expect(await health()).toMatchObject({ state: 'ready', fleet: { state: 'loading' } });
    await until(() => clock.sleeping() === 2);
    clock.advance(250);
    expect((await models).status).toBe(200);
    expect(await health()).toMatchObject({ fleet: { state: 'ready', replicas: null } });
  });

  it('does not keep those who leave', async () => {
    const { completer } = await start(
      { kind: 'vllm', loadingCount: 1_000 },
      { clock: createFakeClock() },
    );
    const abort = new AbortController();
    const ready = completer.ready?.(abort.signal);
    abort.abort(new Error('gone'));
    await expect(ready).rejects.toThrow('gone');
  });
});

describe('a server that will not do', () => {
  it.each([
    [{ model: 'other' }, "no model 'other'"],
    [{ card: {} }, '--context'],
  ])('is refused at once: %o', async (options, why) => {
    const { completer } = await start({ kind: 'openai' }, options);
    const error = await rejectedBy(completer.ready?.() ?? Promise.resolve());
    expect(error.code).toBe('backend_unavailable');
    expect(String(error.cause)).toContain(why);
  });

  it('is not a URL', () => {
    for (const baseUrl of ['', 'localhost:8000', 'file:///x', 'http://key@host', 'http://host?a']) {
      const create = (): unknown => createUpstreamCompleter({ baseUrl, clock: createFakeClock() });
      expect(thrownBy(create)).toMatchObject({ code: 'invalid_url' });
    }
  });
});

describe('how long the context is', () => {
  it.each([
    ['openai', { max_model_len: 77 }],
    ['openai', { context_window: 77 }],
    ['openai', { context_length: 77 }],
    ['llama.cpp', { owned_by: 'llamacpp', meta: { n_ctx: 77 } }],
  ] as const)('is read of what %s says: %o', async (kind, listed) => {
    const { completer } = await start({ kind, listed, missing: ['/info'] }, { card: {} });
    // What llama.cpp says in /props is that of one slot, too, and goes first.
    const expected = kind === 'llama.cpp' ? 512 : 77;
    expect((await completer.describe?.())?.contextTokens).toBe(expected);
  });

  it('is asked of SGLang by the route of its version', async () => {
    const listed = { owned_by: 'sglang' };
    for (const missing of [['/server_info'], ['/get_server_info']]) {
      const { completer } = await start({ kind: 'sglang', listed, missing });
      expect((await completer.describe?.())?.contextTokens).toBe(512);
    }
  });

  it('is what the operator says where the server does not', async () => {
    const silent = await start({ kind: 'openai' }, { card: {}, contextTokens: 300 });
    expect((await silent.completer.describe?.())?.contextTokens).toBe(300);
    const telling = await start({ kind: 'vllm' }, { contextTokens: 300 });
    expect((await telling.completer.describe?.())?.contextTokens).toBe(512);
  });
});

it('looks at the list of models where a server has no health route', async () => {
  const { upstream, completer } = await start({ kind: 'vllm', missing: ['/health'] });
  expect(textOf(await collect(completer.complete(plainRequest())))).toBe('Hé5');
  expect(upstream.requests.slice(0, 3)).toEqual([
    'GET /v1/models',
    'GET /health',
    'GET /v1/models',
  ]);
});

it('keeps defaults that a server cannot have out of silent requests, whoever set them', async () => {
  const defaults = {
    temperature: 0.5,
    topK: 64,
    topP: 0.9,
    minP: 0.1,
    repetitionPenalty: 1.2,
    maxTokens: 20,
  };
  const { completer } = await start({ kind: 'openai' }, { defaults });
  expect((await completer.describe?.())?.defaults).toEqual({
    ...defaults,
    topK: 0,
    minP: 0,
    repetitionPenalty: 1,
  });
  const vllm = await start({ kind: 'vllm' }, { defaults });
  expect((await vllm.completer.describe?.())?.defaults).toEqual(defaults);
});

describe('a completer over a server', () => {
  it('takes what the operator says of the model', async () => {
    const card = { id: 'mine', contextTokens: 100, acceptsImages: false };
    const { upstream, completer } = await start({ kind: 'vllm' }, { card, ...BY_IDS });
    expect(await completer.describe?.()).toMatchObject({ ...card, vocabSize: 265 });
    await collect(completer.complete(plainRequest({ maxTokens: null })));
    // The server has its own name for it; of its context what the operator allows is left.
    expect(upstream.asked[0]?.body).toMatchObject({ model: 'gemma', max_tokens: 94 });
  });

  it('tokenizes by itself where it can', async () => {
    const { upstream, completer } = await start({ kind: 'vllm' }, BY_IDS);
    const ids = await completer.tokenize(plainRequest().prompt);
    expect(await completer.detokenize(ids)).toBe('<bos>Hello');
    expect(upstream.requests).toEqual([]);
  });

  it('says what takes a tokenizer', async () => {
    const { completer } = await start({ kind: 'tgi' });
    for (const asking of [completer.tokenize(CHAT), completer.detokenize([2])]) {
      expect(await rejectedBy(Promise.resolve(asking))).toMatchObject({
        code: 'unsupported_parameter',
      });
    }
  });

  it('drains: what runs ends, what comes is refused, what is late is cut', async () => {
    const clock = createFakeClock();
    const { upstream, completer } = await start(
      { kind: 'vllm', hangs: true },
      { ...BY_IDS, clock },
    );
    const running = collect(completer.complete(plainRequest()));
    running.catch(() => undefined);
    await until(() => upstream.asked.length === 1);
    const drained = completer.drain(1_000);
    expect(completer.state).toBe('draining');
    expect(await rejectedBy(collect(completer.complete(plainRequest())))).toMatchObject({
      code: 'draining',
    });
    clock.advance(1_000);
    await drained;
    expect(await rejectedBy(running)).toMatchObject({ code: 'draining' });
    await until(() => upstream.leftCount() === 1);
  });
});
