import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createUpstreamCompleter } from '../../../adapters/openai/completer.ts';
import { type RunningServer, startServer } from '../../../adapters/node/server.ts';
import { createApp } from '../../../src/app.ts';
import type { Completer } from '../../../src/completer.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import { frames } from '../../support/app-harness.ts';
import { createByteTokenizer } from '../../support/byte-tokenizer.ts';
import { createFakeEngineCompleter } from '../../support/fake-engine-completer.ts';
import { parsePrometheusText } from '../../support/prometheus-text.ts';

const PNG =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const messages = [{ role: 'user', content: 'Hello' }];
const sampled = { temperature: 1, seed: 11, max_tokens: 12 };

/** Asked directly, beside one just like it that is behind the gateway. */
let direct: ReturnType<typeof createApp>;
let gateway: ReturnType<typeof createApp>;
let upstream: RunningServer;
let completer: Completer;
const engines: Completer[] = [];

beforeAll(async () => {
  const alone = createFakeEngineCompleter().completer;
  const behind = createFakeEngineCompleter().completer;
  engines.push(alone, behind);
  direct = createApp({ completer: alone, randomSeed: () => 3 });
  upstream = await startServer({
    app: createApp({ completer: behind, apiKeys: ['upstream-key'] }),
    port: 0,
  });
  completer = createUpstreamCompleter({
    baseUrl: upstream.url,
    apiKey: 'upstream-key',
    tokenizer: createByteTokenizer(),
    clock: systemClock,
  });
  gateway = createApp({ completer, randomSeed: () => 3 });
});

afterAll(async () => {
  await completer.close();
  await upstream.close();
  for (const engine of engines) await engine.close();
});

type App = typeof direct;

function post(app: App, path: string, body: object): Promise<Response> {
  const headers = { 'content-type': 'application/json' };
  return Promise.resolve(
    app.request(path, { method: 'POST', headers, body: JSON.stringify(body) }),
  );
}

/** Without what differs from answer to answer anyway. */
function bare(answer: object): object {
  return { ...answer, id: null, created: null };
}

async function whole(app: App, path: string, body: object): Promise<object> {
  const response = await post(app, path, body);
  return bare({ status: response.status, ...((await response.json()) as object) });
}

describe('another gemlet', () => {
  it.each([
    ['a conversation', '/v1/chat/completions', { messages, ...sampled }],
    [
      'log probabilities, ids and several choices',
      '/v1/chat/completions',
      {
        messages: [{ role: 'user', content: 'Wörld' }],
        ...sampled,
        n: 3,
        logprobs: true,
        top_logprobs: 3,
        return_token_ids: true,
      },
    ],
    [
      'a turn that follows, from what is cached',
      '/v1/chat/completions',
      {
        messages: [...messages, { role: 'assistant', content: 'Yes' }, ...messages],
        ...sampled,
        prompt_cache_key: 'mine',
      },
    ],
    [
      'a picture',
      '/v1/chat/completions',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What?' },
              { type: 'image_url', image_url: { url: PNG } },
            ],
          },
        ],
        ...sampled,
      },
    ],
    [
      'an answer that is continued',
      '/v1/chat/completions',
      {
        messages: [...messages, { role: 'assistant', content: 'Well' }],
        continue_final_message: true,
        ...sampled,
      },
    ],
    [
      'a text with echo and log probabilities',
      '/v1/completions',
      { prompt: 'Hello', echo: true, logprobs: 4, return_token_ids: true, ...sampled },
    ],
    [
      'several prompts of ids',
      '/v1/completions',
      {
        prompt: [
          [2, 80, 81],
          [2, 82],
        ],
        n: 2,
        logprobs: 0,
        return_token_ids: true,
        ...sampled,
      },
    ],
    ['a prompt alone', '/v1/completions', { prompt: 'Hello', ...sampled, max_tokens: 0 }],
    [
      'stop strings',
      '/v1/completions',
      { prompt: 'Hello', ...sampled, stop: ['e', 'a', '1'], stop_token_ids: [90, 100, 110, 120] },
    ],
    ['what is too long', '/v1/completions', { prompt: 'Hello', max_tokens: 4_000 }],
    ['tokens', '/tokenize', { messages }],
    ['text of tokens', '/detokenize', { tokens: [2, 80, 195, 90] }],
  ])('answers %s as if asked directly', async (_, path, body) => {
    const expected = await whole(direct, path, body);
    expect(await whole(gateway, path, body)).toEqual(expected);
  });

  it.each([
    [
      'a conversation',
      '/v1/chat/completions',
      { messages, ...sampled, logprobs: true, top_logprobs: 2, return_token_ids: true },
    ],
    [
      'a text',
      '/v1/completions',
      { prompt: 'Häl', ...sampled, n: 1, echo: true, logprobs: 2, return_token_ids: true },
    ],
  ])('streams %s as if asked directly', async (_, path, body) => {
    const streamed = { ...body, stream: true, stream_options: { include_usage: true } };
    const expected = (await frames(await post(direct, path, streamed))).map(bare);
    expect((await frames(await post(gateway, path, streamed))).map(bare)).toEqual(expected);
    expect(expected.at(-1)).toMatchObject({ usage: { completion_tokens: 12 } });
  });

  it('tells what was cached, once it is known', async () => {
    const body = { prompt: 'The same words again and again', ...sampled };
    await whole(gateway, '/v1/completions', body);
    expect(await whole(gateway, '/v1/completions', body)).toMatchObject({
      usage: { prompt_tokens: 31, prompt_tokens_details: { cached_tokens: 29 } },
    });
    const salted = await whole(gateway, '/v1/completions', { ...body, cache_salt: 'other' });
    expect(salted).toMatchObject({ usage: { prompt_tokens_details: { cached_tokens: 0 } } });
  });

  it('counts prompts whose size is told at the end', async () => {
    const counting = createApp({ completer });
    const response = await post(counting, '/v1/chat/completions', { messages, ...sampled });
    const { usage } = (await response.json()) as { readonly usage: OpenAI.CompletionUsage };
    const metrics = await (await counting.request('/metrics')).text();
    const valueOf = (name: string): number =>
      Number(parsePrometheusText(metrics).find((sample) => sample.name === name)?.value);
    expect(usage.prompt_tokens).toBeGreaterThan(0);
    expect(valueOf('vllm:prompt_tokens_total')).toBe(usage.prompt_tokens);
    expect(valueOf('vllm:request_prompt_tokens_sum')).toBe(usage.prompt_tokens);
    expect(valueOf('vllm:request_prompt_tokens_count')).toBe(1);
  });

  it('is described as it describes itself', async () => {
    const expected = await (await direct.request('/v1/models')).json();
    expect(await (await gateway.request('/v1/models')).json()).toEqual(expected);
  });

  it("answers OpenAI's client through the gateway", async () => {
    const front = await startServer({ app: gateway, port: 0 });
    try {
      const client = new OpenAI({ baseURL: `${front.url}/v1`, apiKey: 'none' });
      const request = { model: 'google/gemma-fake', messages: [...messages] as never, ...sampled };
      const { choices, usage } = await client.chat.completions.create(request);
      const stream = client.chat.completions.stream({
        ...request,
        stream_options: { include_usage: true },
      });
      const final = await stream.finalChatCompletion();
      expect(final.choices[0]?.message.content).toBe(choices[0]?.message.content);
      expect(final.usage?.completion_tokens).toBe(usage?.completion_tokens);
    } finally {
      await front.close();
    }
  });
});
