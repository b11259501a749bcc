import { describe, expect, it } from 'vitest';
import { type ChatCall, parseChatRequest } from '../../src/openai/chat-request.ts';
import { DEFAULT_LIMITS, type RequestContext } from '../../src/openai/request-context.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const context: RequestContext = {
  card: STUB_CARD,
  limits: DEFAULT_LIMITS,
  randomSeed: () => 77,
  tenant: '',
  sessionKey: null,
};
const messages = [{ role: 'user', content: 'Hi' }];

function parse(fields: object, over: Partial<RequestContext> = {}): ChatCall {
  return parseChatRequest({ messages, ...fields }, { ...context, ...over });
}

function scopeOf(tenant: string, fields: object = {}): string {
  return parse(fields, { tenant }).request.scope;
}

describe('defaults', () => {
  it('fills silence with the model card', () => {
    expect(parse({})).toEqual({
      request: {
        prompt: {
          type: 'chat',
          messages: [{ role: 'user', parts: [{ type: 'text', text: 'Hi' }] }],
          strict: false,
          addGenerationPrompt: true,
          continueFinalMessage: false,
        },
        choiceCount: 1,
        scope: '',
        tenant: '',
        sessionId: null,
        sampling: {
          maxTokens: null,
          temperature: 1,
          topK: 64,
          topP: 0.95,
          minP: 0,
          repetitionPenalty: 1,
          presencePenalty: 0,
          frequencyPenalty: 0,
          logitBias: new Map(),
          seed: 77,
          stop: [],
          stopIds: [],
          allowedIds: null,
          minTokens: 0,
          ignoreEos: false,
          includesStop: false,
          logprobs: null,
          promptLogprobs: null,
        },
        returnTokenIds: false,
      },
      stream: false,
      includeUsage: false,
      logprobs: false,
      tokensAsIds: false,
    });
  });

  it('keeps zero, false and the empty string apart from absence', () => {
    const { sampling } = parse({
      temperature: 0,
      top_k: 0,
      top_p: 0,
      seed: 0,
      max_tokens: 0,
    }).request;
    expect(sampling).toMatchObject({ temperature: 0, topK: 0, topP: 0, seed: 0, maxTokens: 0 });
    const { prompt } = parse({
      add_generation_prompt: false,
      messages: [{ role: 'user', content: '' }],
    }).request;
    expect(prompt).toMatchObject({
      addGenerationPrompt: false,
      messages: [{ parts: [{ type: 'text', text: '' }] }],
    });
  });

  it('takes the tenant and its salt as the scope, and no salt reaches into another tenant', () => {
    expect(scopeOf('')).toBe('');
    expect(scopeOf('a1')).toBe('a1');
    expect(scopeOf('a1', { cache_salt: 's' })).toBe('a1\0s');
    const scopes = ['', 'a1', 'b2'].flatMap((tenant) =>
      [undefined, 'a1', 'b2', '\0', '\0a1', 'a1\0a1'].map((salt) =>
        scopeOf(tenant, salt === undefined ? {} : { cache_salt: salt }),
      ),
    );
    expect(new Set(scopes).size).toBe(scopes.length);
  });

  it('takes null for absent in every field', () => {
    const names = [
      'model',
      'n',
      'stream',
      'stream_options',
      'max_tokens',
      'max_completion_tokens',
      'temperature',
      'top_p',
      'top_k',
      'min_p',
      'repetition_penalty',
      'presence_penalty',
      'frequency_penalty',
      'logit_bias',
      'seed',
      'stop',
      'stop_token_ids',
      'ignore_eos',
      'return_token_ids',
      'cache_salt',
      'logprobs',
      'top_logprobs',
      'add_generation_prompt',
      'continue_final_message',
      'strict_template',
      'tools',
      'tool_choice',
      'functions',
      'response_format',
      'modalities',
      'audio',
      'suffix',
    ];
    expect(parse(Object.fromEntries(names.map((name) => [name, null])))).toEqual(parse({}));
  });

  it('ignores what only OpenAI uses and what nobody knows', () => {
    const extras = {
      user: 'u',
      metadata: { a: 'b' },
      store: true,
      service_tier: 'auto',
      parallel_tool_calls: true,
      reasoning_effort: 'low',
      frobnicate: [1],
      stream_options: { continuous_usage_stats: true },
    };
    expect(parse(extras)).toEqual(parse({}));
  });

  it('accepts values of unsupported fields that ask for nothing', () => {
    const benign = {
      tools: [],
      tool_choice: 'none',
      functions: [],
      response_format: { type: 'text' },
      modalities: ['text'],
      best_of: 1,
      suffix: '',
      min_tokens: 0,
      n: 1,
      logit_bias: null,
    };
    expect(parse(benign)).toEqual(parse({}));
  });
});

const image = (index: number, url: string, panAndScan: boolean, path: string): object => ({
  type: 'image',
  source: { type: 'url', url },
  panAndScan,
  param: `messages[1].content[${index}].${path}`,
});

const limits = (maxTokens: number, over: Partial<RequestContext> = {}) =>
  ['max_tokens', 'max_completion_tokens'].map(
    (name) => parse({ [name]: maxTokens }, over).request.sampling.maxTokens,
  );

const crops = (detail: string | null | undefined, doPanAndScan?: boolean): unknown => {
  const url = { url: 'https://x/y.png', ...(detail === undefined ? {} : { detail }) };
  const { prompt } = parse({
    messages: [{ role: 'user', content: [{ type: 'image_url', image_url: url }] }],
    ...(doPanAndScan === undefined
      ? {}
      : { mm_processor_kwargs: { do_pan_and_scan: doPanAndScan } }),
  }).request;
  const part = prompt.type === 'chat' ? prompt.messages[0]?.parts[0] : undefined;
  return part?.type === 'image' ? part.panAndScan : null;
};

describe('mapping', () => {
  it('carries every sampling field into engine terms', () => {
    const { request } = parse({
      n: 3,
      max_tokens: 5,
      temperature: 0.5,
      top_p: 0.9,
      top_k: -1,
      min_p: 0.1,
      repetition_penalty: 1.1,
      presence_penalty: -2,
      frequency_penalty: 2,
      logit_bias: { '5': -100, '257': 1.5 },
      seed: 42,
      stop: ['a', 'b'],
      stop_token_ids: [7],
      ignore_eos: true,
      return_token_ids: true,
      logprobs: true,
      top_logprobs: 20,
    });
    expect(request).toMatchObject({
      choiceCount: 3,
      returnTokenIds: true,
      sampling: {
        maxTokens: 5,
        temperature: 0.5,
        topP: 0.9,
        topK: 0,
        minP: 0.1,
        repetitionPenalty: 1.1,
        presencePenalty: -2,
        frequencyPenalty: 2,
        seed: 42,
        stop: ['a', 'b'],
        stopIds: [7],
        ignoreEos: true,
        logprobs: 20,
        promptLogprobs: null,
      },
    });
    expect([...request.sampling.logitBias]).toEqual([
      [5, -100],
      [257, 1.5],
    ]);
  });

  it('reports the token alone when logprobs comes without top_logprobs', () => {
    expect(parse({ logprobs: true }).request.sampling.logprobs).toBe(0);
  });

  it('lets max_completion_tokens win over max_tokens', () => {
    expect(parse({ max_tokens: 5, max_completion_tokens: 9 }).request.sampling.maxTokens).toBe(9);
  });

  it('folds negative and 64-bit seeds into 32 bits, without moving small ones', () => {
    const seeds = [0, 1, 2 ** 32 - 1, -1, -2, 2 ** 32, 2 ** 53, -(2 ** 63), 2 ** 64 - 2 ** 11];
    const folded = seeds.map((seed) => parse({ seed }).request.sampling.seed);
    expect(folded.slice(0, 3)).toEqual([0, 1, 2 ** 32 - 1]);
    for (const seed of folded)
      expect(seed >= 0 && seed < 2 ** 32 && Number.isInteger(seed)).toBe(true);
    expect(new Set(folded.slice(0, 6)).size).toBe(6);
  });

  it('reads roles, parts and image details of every dialect', () => {
    const { prompt } = parse({
      messages: [
        { role: 'developer', content: 'Be brief.', name: 'x' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'A' },
            { type: 'image_url', image_url: { url: 'data:image/png;base64,AA', detail: 'high' } },
            { type: 'image_url', image_url: { url: 'https://x/y.png', detail: null } },
            { type: 'input_image', image_url: 'https://x/z.png', detail: 'high' },
            { type: 'input_text', text: 'B' },
          ],
        },
        {
          role: 'assistant',
          content: [{ type: 'refusal', refusal: 'No.' }],
          tool_calls: [],
          refusal: null,
        },
      ],
    }).request;
    expect(prompt).toMatchObject({
      messages: [
        { role: 'system', parts: [{ type: 'text', text: 'Be brief.' }] },
        {
          role: 'user',
          parts: [
            { type: 'text', text: 'A' },
            image(1, 'data:image/png;base64,AA', true, 'image_url.url'),
            image(2, 'https://x/y.png', false, 'image_url.url'),
            image(3, 'https://x/z.png', true, 'image_url'),
            { type: 'text', text: 'B' },
          ],
        },
        { role: 'assistant', parts: [{ type: 'text', text: 'No.' }] },
      ],
    });
  });

  it('takes no limit and the default limit that the model card says for the same', () => {
    expect(limits(-1)).toEqual([null, null]);
    expect(limits(1024)).toEqual([null, null]);
    expect(limits(1023)).toEqual([1023, 1023]);
    const short = { card: { ...STUB_CARD, contextTokens: 512 } };
    expect(limits(511, short)).toEqual([null, null]);
    expect(limits(1024, short)).toEqual([1024, 1024]);
  });

  it('reads assistant messages without a content, as clients send them after calls', () => {
    const empty = { role: 'assistant', parts: [{ type: 'text', text: '' }] };
    for (const sent of [
      { content: null },
      { content: null, tool_calls: [] },
      { content: null, tool_calls: null },
      { tool_calls: [] },
    ]) {
      const { prompt } = parse({ messages: [{ role: 'assistant', ...sent }] }).request;
      expect(prompt).toMatchObject({ messages: [empty] });
    }
  });

  it('crops images by their own detail, else as mm_processor_kwargs says', () => {
    const details = [undefined, null, 'auto', 'low', 'high', 'original'];
    expect(details.map((detail) => crops(detail))).toEqual([
      false,
      false,
      false,
      false,
      true,
      true,
    ]);
    expect(details.map((detail) => crops(detail, true))).toEqual([
      true,
      true,
      false,
      false,
      true,
      true,
    ]);
    expect(details.map((detail) => crops(detail, false))).toEqual([
      false,
      false,
      false,
      false,
      true,
      true,
    ]);
  });

  it('continues the last assistant message without opening another turn', () => {
    const { prompt } = parse({
      messages: [...messages, { role: 'assistant', content: 'Well' }],
      continue_final_message: true,
      strict_template: true,
    }).request;
    expect(prompt).toMatchObject({
      addGenerationPrompt: false,
      continueFinalMessage: true,
      strict: true,
    });
  });
});

describe('prototype pollution', () => {
  it('treats __proto__ and constructor as unknown fields', () => {
    const body: unknown = JSON.parse(
      '{"__proto__": {"temperature": 2, "polluted": true}, "constructor": {"prototype": {"polluted": true}}, "logit_bias": {"__proto__": {"x": 1}}, "messages": [{"role": "user", "content": "Hi", "__proto__": {"role": "system"}}]}',
    );
    expect(parseChatRequest(body, context)).toEqual(parse({}));
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
