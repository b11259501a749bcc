import { afterEach, describe, expect, it } from 'vitest';
import { createApp } from '../../../src/app.ts';
import { until } from '../../support/app-harness.ts';
import { collect, textOf } from '../../support/completions.ts';
import { rejectedBy } from '../../support/thrown-by.ts';
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

const KEY = 'sk-secret';

function frame(content: string, rest: object): string {
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, ...rest }] })}\n\n`;
}

describe('what the server answers in place of an answer', () => {
  it.each([
    [429, {}, { 'retry-after': '7' }, { code: 'queue_full', retryAfterMs: 7_000 }],
    [429, { error: 'Model is overloaded' }, {}, { code: 'queue_full' }],
    [503, { error: { message: 'Loading model' } }, {}, { code: 'model_loading' }],
    [
      503,
      { message: 'shutting down' },
      { 'retry-after-ms': '90000' },
      { code: 'draining', retryAfterMs: 60_000 },
    ],
    [
      503,
      { error: { code: 'model_loading', message: 'still' } },
      {},
      { code: 'model_loading', message: 'still' },
    ],
    [401, { error: `${KEY} is wrong` }, {}, { code: 'backend_unavailable' }],
    [403, {}, {}, { code: 'backend_unavailable' }],
    [404, { error: { message: 'no such model', code: 404 } }, {}, { code: 'backend_unavailable' }],
    [302, {}, { location: 'http://elsewhere/' }, { code: 'backend_unavailable' }],
    [
      400,
      { error: { message: 'bad top_k', param: 'top_k', code: 400 } },
      {},
      {
        code: 'invalid_request',
        param: 'top_k',
        message: 'The engine refused the request: bad top_k',
      },
    ],
    [
      422,
      { detail: [{ msg: 'bad', input: 'the prompt' }] },
      {},
      { code: 'invalid_request', message: 'The engine refused the request: [{"msg":"bad",' },
    ],
    [
      400,
      { error: { message: "This model's maximum context length is 512 tokens.", code: 400 } },
      {},
      { code: 'context_length_exceeded' },
    ],
    [
      400,
      {
        object: 'error',
        message: "You passed 9 input tokens. However, the model's context length is only 8 tokens",
      },
      {},
      { code: 'context_length_exceeded' },
    ],
    [
      400,
      { error: { code: 400, message: 'too much', type: 'exceed_context_size_error' } },
      {},
      { code: 'context_length_exceeded' },
    ],
    [
      422,
      {
        error: 'Input validation error: `inputs` must have less than 8 tokens. Given: 9',
        error_type: 'validation',
      },
      {},
      { code: 'context_length_exceeded' },
    ],
    [500, { error: { message: 'CUDA error' } }, {}, { code: 'internal' }],
    [
      424,
      { error: 'Request failed during generation', error_type: 'generation' },
      {},
      { code: 'internal' },
    ],
  ])('%i %j is told to clients as theirs', async (status, body, headers, expected) => {
    const failures = [{ status, body, headers: headers as Record<string, string> }];
    const { upstream, completer } = await start(
      { kind: 'vllm', failures },
      { ...BY_IDS, apiKey: KEY, clock: createPauseClock() },
    );
    const error = await rejectedBy(collect(completer.complete(plainRequest())));
    expect(error).toMatchObject(expected);
    expect(error.message).not.toContain(KEY);
    expect(error.message).not.toContain('127.0.0.1');
    expect(error.message).not.toContain('the prompt');
    // Only what cannot be reached is asked again.
    expect(upstream.asked).toHaveLength(1);
    expect(upstream.asked[0]?.key).toBe(`Bearer ${KEY}`);
  });

  it('hides where the server is, and its key, in what it says', async () => {
    const { upstream, completer } = await start({ kind: 'vllm', failures: [] }, { apiKey: KEY });
    await collect(completer.complete(plainRequest()));
    const message = `see ${upstream.url}/docs with ${KEY}`;
    const other = await start(
      { kind: 'vllm', failures: [{ status: 400, body: { error: { message } } }] },
      { apiKey: KEY, headers: { 'x-host': upstream.url } },
    );
    const error = await rejectedBy(collect(other.completer.complete(plainRequest())));
    expect(error.message).toBe('The engine refused the request: see .../docs with ...');
  });

  it('is asked for again while the server cannot be reached, before its first word', async () => {
    const bad = { status: 502, body: '<html>Bad gateway</html>' };
    const { upstream, completer } = await start(
      { kind: 'vllm', failures: ['reset', bad] },
      { ...BY_IDS, clock: createPauseClock() },
    );
    expect(textOf(await collect(completer.complete(plainRequest())))).toBe('Hé5');
    expect(upstream.asked).toHaveLength(3);
  });

  it('is a retryable failure when that does not help, and the server is looked at again', async () => {
    const { upstream, completer } = await start(
      { kind: 'vllm', failures: ['reset', 'reset', 'reset'] },
      { ...BY_IDS, clock: createPauseClock() },
    );
    const error = await rejectedBy(collect(completer.complete(plainRequest())));
    expect(error).toMatchObject({ code: 'upstream_unavailable', retryable: true });
    expect(upstream.asked).toHaveLength(3);
    expect(completer.state).toBe('idle');
    expect(textOf(await collect(completer.complete(plainRequest())))).toBe('Hé5');
    expect(upstream.requests.filter((line) => line === 'GET /health')).toHaveLength(2);
  });
});

describe('a stream that goes wrong', () => {
  const word = 'data: {"choices":[{"text":"Hi","token_ids":[80]}]}\n\n';

  it.each([
    ['an error in it', [word, 'data: {"error":{"message":"abort","code":500}}\n\n'], 'internal'],
    [
      'an error in it before the first word',
      ['data: {"error":{"message":"longer than the model\'s context length"}}\n\n'],
      'context_length_exceeded',
    ],
    ["TGI's error", ['data: {"error":"oom","error_type":"overloaded"}\n\n'], 'queue_full'],
    ['no end', [word], 'upstream_unavailable'],
    ['no end but [DONE]', [word, 'data: [DONE]\n\n'], 'upstream_unavailable'],
    ['half a frame', [word, 'data: {"choices":[{"te'], 'upstream_unavailable'],
    ['no JSON', [word, 'data: secret prompt\n\n'], 'upstream_unavailable'],
    ['JSON that is no object', ['data: 7\n\n'], 'upstream_unavailable'],
    ['nothing', [], 'upstream_unavailable'],
    [
      'an end that is none',
      ['data: {"choices":[{"text":"","finish_reason":"abort"}]}\n\n'],
      'upstream_unavailable',
    ],
  ])('with %s is an error', async (_, raw, code) => {
    const { completer } = await start(
      { kind: 'vllm', raw },
      { ...BY_IDS, clock: createPauseClock(), maxAttempts: 1 },
    );
    const error = await rejectedBy(collect(completer.complete(plainRequest())));
    expect(error.code).toBe(code);
    expect(String(error.cause)).not.toContain('secret');
  });

  it('is not asked for again after its first word', async () => {
    const { upstream, completer } = await start({ kind: 'vllm', cutAfter: 2 }, BY_IDS);
    const seen: string[] = [];
    const reading = (async (): Promise<void> => {
      for await (const event of completer.complete(plainRequest())) seen.push(event.type);
    })();
    expect(await rejectedBy(reading)).toMatchObject({ code: 'upstream_unavailable' });
    expect(seen.slice(0, 2)).toEqual(['start', 'delta']);
    expect(upstream.asked).toHaveLength(1);
  });

  it('is an error frame to the client, and no clean end', async () => {
    const { completer } = await start({ kind: 'sglang', cutAfter: 2 }, BY_IDS);
    const app = createApp({ completer });
    const response = await app.request('/v1/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'Hello', stream: true, max_tokens: 30 }),
    });
    const text = await response.text();
    expect(text).toContain('"text":"H"');
    expect(text).toContain('"code":"upstream_unavailable"');
    expect(text).not.toContain('[DONE]');
  });

  it('counts as lost after too long a silence', async () => {
    const { upstream, completer } = await start(
      { kind: 'vllm', raw: [word], hangs: true },
      { ...BY_IDS, stallMs: 60 },
    );
    const error = await rejectedBy(collect(completer.complete(plainRequest())));
    expect(error).toMatchObject({ code: 'upstream_unavailable' });
    expect(error.message).toContain('said nothing for 0.06 s');
    await until(() => upstream.leftCount() === 1);
  });
});

describe('log probabilities', () => {
  it('are refused by name where the server leaves them out, before any of its text', async () => {
    const raw = [frame('', {}), frame('Yes', {}), frame('', { finish_reason: 'stop' })];
    const { completer } = await start({ kind: 'openai', raw });
    const app = createApp({ completer });
    const body = { messages: [{ role: 'user', content: 'Hi' }], logprobs: true };
    const response = await app.request('/v1/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { code: 'unsupported_parameter', param: 'logprobs' },
    });
    const without = await collect(completer.complete(plainRequest({}, { prompt: CHAT })));
    expect(textOf(without)).toBe('Yes');
  });
});

describe('a client that leaves', () => {
  it('closes the connection to the server, by leaving the loop and by aborting', async () => {
    for (const kind of ['vllm', 'sglang', 'llama.cpp'] as const) {
      const { upstream, completer } = await start({ kind, hangs: true }, BY_IDS);
      for await (const event of completer.complete(plainRequest())) {
        if (event.type === 'delta') break;
      }
      await until(() => upstream.leftCount() === 1);
      const abort = new AbortController();
      const request = plainRequest({}, { prompt: CHAT, choiceCount: 2 });
      const reading = (async (): Promise<void> => {
        for await (const event of completer.complete(request, abort.signal)) {
          if (event.type === 'delta') abort.abort(new Error('gone'));
        }
      })();
      await expect(reading).rejects.toThrow('gone');
      await until(() => upstream.leftCount() === 3);
    }
  });
});
