import { afterEach, describe, expect, it } from 'vitest';
import type { PromptInput } from '../../../src/completer.ts';
import { collect, textOf } from '../../support/completions.ts';
import { rejectedBy } from '../../support/thrown-by.ts';
import {
  BY_IDS,
  CHAT,
  createUpstreamHarness,
  plainRequest,
} from '../../support/upstream-harness.ts';

const harness = createUpstreamHarness();
const { start } = harness;

afterEach(() => harness.close());

const PNG =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
function withImage(url: string): PromptInput {
  return {
    ...CHAT,
    messages: [
      {
        role: 'user',
        parts: [
          { type: 'text', text: 'What?' },
          { type: 'image', source: { type: 'url', url }, panAndScan: true, param: 'here' },
        ],
      },
    ],
  };
}

describe('what is sent', () => {
  const sampling = {
    maxTokens: 9,
    temperature: 0.5,
    topK: 0,
    topP: 0.9,
    minP: 0.1,
    repetitionPenalty: 1.2,
    presencePenalty: 0.3,
    frequencyPenalty: 0.4,
    logitBias: new Map([[70, -100]]),
    stop: ['x'],
    stopIds: [71],
    ignoreEos: true,
  };
  const allowedIds = [72, 73];
  const shared = {
    temperature: 0.5,
    top_p: 0.9,
    top_k: -1,
    min_p: 0.1,
    repetition_penalty: 1.2,
    presence_penalty: 0.3,
    frequency_penalty: 0.4,
    logit_bias: { '70': -100 },
    stop: ['x'],
    stop_token_ids: [71],
    ignore_eos: true,
  };

  it('has the names of vLLM, and a salt that is a hash', async () => {
    const { upstream, completer } = await start({ kind: 'vllm' }, BY_IDS);
    const rest = { scope: 'tenant\0salt', tenant: 'tenant' };
    await collect(completer.complete(plainRequest({ ...sampling, allowedIds }, rest)));
    const expected = { ...shared, allowed_token_ids: allowedIds, seed: 5, max_tokens: 9 };
    expect(upstream.asked[0]?.body).toMatchObject(expected);
    expect(upstream.asked[0]?.body['cache_salt']).toMatch(/^[0-9a-f]{64}$/);
  });

  it('has the names of SGLang', async () => {
    const { upstream, completer } = await start({ kind: 'sglang' }, BY_IDS);
    await collect(
      completer.complete(plainRequest(sampling, { scope: 'tenant', tenant: 'tenant' })),
    );
    const body = upstream.asked[0]?.body;
    const expected = { ...shared, sampling_seed: 5, max_new_tokens: 9 };
    expect(body?.['sampling_params']).toEqual(expected);
    expect(body?.['extra_key']).toMatch(/^[0-9a-f]{64}$/);
  });

  it('has the names of llama.cpp', async () => {
    const { upstream, completer } = await start({ kind: 'llama.cpp' }, BY_IDS);
    const rest = { scope: 'tenant', tenant: 'tenant' };
    await collect(completer.complete(plainRequest({ ...sampling, stopIds: [] }, rest)));
    expect(upstream.asked[0]?.body).toMatchObject({
      temperature: 0.5,
      top_k: 0,
      repeat_penalty: 1.2,
      // All of the context: the server knows no number for that.
      repeat_last_n: 512,
      logit_bias: [[70, false]],
      n_predict: 9,
      seed: 5,
      ignore_eos: true,
    });
  });

  it('has llama.cpp look back only where something is penalized', async () => {
    const { upstream, completer } = await start({ kind: 'llama.cpp' }, BY_IDS);
    const wishes = [
      {},
      { repetitionPenalty: 1.1 },
      { presencePenalty: 1 },
      { frequencyPenalty: 1 },
    ];
    for (const wish of wishes) await collect(completer.complete(plainRequest(wish)));
    const sent = upstream.asked.map(({ body }) => body['repeat_last_n']);
    expect(sent).toEqual([0, 512, 512, 512]);
  });

  it('keeps a last message of the assistant from llama.cpp, which would go on with it', async () => {
    const { upstream, completer } = await start({ kind: 'llama.cpp' });
    const begun = { role: 'assistant', parts: [{ type: 'text', text: 'Yes' }] } as const;
    const prompt = { ...CHAT, messages: [...CHAT.messages, begun] };
    const asking = collect(completer.complete(plainRequest({}, { prompt })));
    expect(await rejectedBy(asking)).toMatchObject({
      code: 'unsupported_parameter',
      param: 'messages',
    });
    expect(upstream.asked).toEqual([]);
  });

  it.each([
    ['llama.cpp', { stopIds: [7] }, {}, 'stop_token_ids'],
    ['llama.cpp', { promptLogprobs: 1 }, {}, 'echo'],
    ['llama.cpp', {}, { scope: 'a\0b', tenant: 'a' }, 'cache_salt'],
    ['tgi', { topK: 5 }, {}, 'top_k'],
    ['tgi', { presencePenalty: 1 }, { prompt: CHAT }, 'presence_penalty'],
    ['tgi', { logprobs: 1 }, {}, 'logprobs'],
    ['tgi', {}, { prompt: { type: 'tokens', ids: [2] } as const }, 'prompt'],
    ['openai', { minP: 0.1 }, { prompt: CHAT }, 'min_p'],
    ['openai', {}, { returnTokenIds: true }, 'return_token_ids'],
    ['openai', { ignoreEos: true }, {}, 'ignore_eos'],
    ['openai', { allowedIds: [7] }, {}, 'allowed_token_ids'],
    ['llama.cpp', { allowedIds: [7] }, {}, 'allowed_token_ids'],
    ['sglang', { allowedIds: [7] }, { prompt: CHAT }, 'allowed_token_ids'],
    ['vllm', { minTokens: 2 }, {}, 'min_tokens'],
    ['vllm', { includesStop: true }, {}, 'include_stop_str_in_output'],
  ] as const)('%s is not asked for what it cannot do: %o', async (kind, wish, rest, param) => {
    const { upstream, completer } = await start({ kind });
    const asking = collect(completer.complete(plainRequest({ topK: 0, ...wish }, rest)));
    expect(await rejectedBy(asking)).toMatchObject({ code: 'unsupported_parameter', param });
    expect(upstream.asked).toEqual([]);
  });

  it('holds pictures in the shape of the model for llama.cpp, which would shape them otherwise', async () => {
    const shaped = Uint8Array.from(Buffer.from(PNG.slice(PNG.indexOf(',') + 1), 'base64'));
    const other = 'data:image/png;base64,AAAA';
    for (const kind of ['llama.cpp', 'vllm'] as const) {
      const { upstream, completer } = await start(
        { kind },
        { ...BY_IDS, shapeImage: async () => shaped },
      );
      const asking = collect(completer.complete(plainRequest({}, { prompt: withImage(other) })));
      if (kind === 'vllm') {
        // It shapes the file itself, which is none here.
        expect(await rejectedBy(asking)).toMatchObject({ code: 'invalid_image' });
        continue;
      }
      await asking;
      expect(JSON.stringify(upstream.asked[0]?.body['messages'])).toContain(PNG);
    }
  });

  it('has the headers of the operator, which differ by more than case', async () => {
    const { upstream, completer } = await start(
      { kind: 'vllm' },
      { ...BY_IDS, apiKey: 'sk-1', headers: { Authorization: 'theirs', 'Modal-Key': 'wk-1' } },
    );
    await collect(completer.complete(plainRequest()));
    expect(upstream.asked[0]?.headers).toMatchObject({
      authorization: 'Bearer sk-1',
      'modal-key': 'wk-1',
      'content-type': 'application/json',
    });
  });

  it('names conversations in the header of the balancer, hashed, and says nothing of others', async () => {
    const { upstream, completer } = await start(
      { kind: 'vllm' },
      { ...BY_IDS, sessionHeader: 'X-User-Id' },
    );
    const names: readonly (readonly [string, string | null])[] = [
      ['a', 'chat-1'],
      ['a', 'chat-1'],
      ['b', 'chat-1'],
      ['a', null],
    ];
    for (const [tenant, sessionId] of names) {
      await collect(completer.complete(plainRequest({}, { tenant, sessionId })));
    }
    const [first, same, other, none] = upstream.asked.map(({ headers }) => headers['x-user-id']);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect([same === first, other === first, none]).toEqual([true, false, undefined]);
  });

  it('reports on the prompt where vLLM and SGLang do', async () => {
    for (const kind of ['vllm', 'sglang'] as const) {
      const { completer } = await start({ kind }, BY_IDS);
      const wish = { logprobs: 1, promptLogprobs: 1 };
      const [first, ...rest] = await collect(completer.complete(plainRequest(wish)));
      const prompt = first?.type === 'start' ? (first.prompt ?? []) : [];
      expect(prompt.map(({ text }) => text)).toEqual(['<bos>', 'H', 'e', 'l', 'l', 'o']);
      expect(prompt.map(({ logprob }) => logprob)).toEqual([null, -1, -1, -1, -1, -1]);
      expect(prompt[1]?.top).toMatchObject([{ text: 'H', logprob: -1 }]);
      expect(textOf(rest)).toBe('Hé5');
    }
  });

  it('holds pictures as data URIs, with our ids left out', async () => {
    const { upstream, completer } = await start({ kind: 'vllm' }, BY_IDS);
    await collect(completer.complete(plainRequest({}, { prompt: withImage(PNG) })));
    expect(upstream.asked[0]?.body['messages']).toEqual([
      {
        role: 'user',
        content: [
          { type: 'text', text: 'What?' },
          { type: 'image_url', image_url: { url: PNG, detail: 'high' } },
        ],
      },
    ]);
    const byUrl = plainRequest({}, { prompt: withImage('http://10.0.0.1/secret.png') });
    expect(await rejectedBy(collect(completer.complete(byUrl)))).toMatchObject({
      code: 'invalid_url',
      param: 'here',
    });
    const damaged = plainRequest({}, { prompt: withImage('data:image/png;base64,AAAA') });
    expect(await rejectedBy(collect(completer.complete(damaged)))).toMatchObject({
      code: 'invalid_image',
      param: 'here',
    });
    expect(upstream.asked).toHaveLength(1);
  });
});
