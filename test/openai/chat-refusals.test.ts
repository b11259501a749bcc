import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { parseChatRequest } from '../../src/openai/chat-request.ts';
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

function refusal(body: unknown, over: Partial<RequestContext> = {}): ServeError {
  try {
    parseChatRequest(body, { ...context, ...over });
  } catch (error) {
    if (ServeError.is(error)) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(body)}`);
}

const user = (...content: unknown[]): object => ({ messages: [{ role: 'user', content }] });

describe('refusals', () => {
  const image = { type: 'image_url', image_url: { url: 'https://x/y.png' } };
  const cases: [body: unknown, param: string | null, code?: string][] = [
    [null, null],
    [[], null],
    ['text', null],
    [7, null],
    [{}, 'messages'],
    [{ messages: [] }, 'messages'],
    [{ messages: 'Hi' }, 'messages'],
    [{ messages: {} }, 'messages'],
    [{ messages: [null] }, 'messages[0]'],
    [{ messages: ['Hi'] }, 'messages[0]'],
    [{ messages: [{ content: 'Hi' }] }, 'messages[0].role'],
    [{ messages: [{ role: 7, content: 'Hi' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'wizard', content: 'Hi' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'constructor', content: 'Hi' }] }, 'messages[0].role'],
    [{ messages: [{ role: '__proto__', content: 'Hi' }] }, 'messages[0].role'],
    [{ messages: [{ role: 'tool', content: 'Hi' }] }, 'messages[0].role', 'unsupported_parameter'],
    [
      { messages: [{ role: 'function', content: 'Hi' }] },
      'messages[0].role',
      'unsupported_parameter',
    ],
    [{ messages: [...messages, { role: 'user' }] }, 'messages[1].content'],
    [{ messages: [{ role: 'user', content: null }] }, 'messages[0].content'],
    [{ messages: [{ role: 'assistant' }] }, 'messages[0].content'],
    [{ messages, mm_processor_kwargs: { num_crops: 4 } }, 'mm_processor_kwargs'],
    [
      { messages, mm_processor_kwargs: { do_pan_and_scan: 1 } },
      'mm_processor_kwargs.do_pan_and_scan',
    ],
    [{ messages, allowed_token_ids: [] }, 'allowed_token_ids'],
    [{ messages, allowed_token_ids: [258] }, 'allowed_token_ids[0]'],
    [{ messages, min_tokens: 6, max_tokens: 5 }, 'min_tokens'],
    [{ messages: [{ role: 'user', content: 7 }] }, 'messages[0].content'],
    [
      { messages: [{ role: 'assistant', tool_calls: [{}] }] },
      'messages[0].tool_calls',
      'unsupported_parameter',
    ],
    [user(), 'messages[0].content'],
    [user('Hi'), 'messages[0].content[0]'],
    [user({ text: 'Hi' }), 'messages[0].content[0].type'],
    [user({ type: 'poem' }), 'messages[0].content[0].type'],
    [user({ type: 'text' }), 'messages[0].content[0].text'],
    [user({ type: 'text', text: 7 }), 'messages[0].content[0].text'],
    [user({ type: 'image_url' }), 'messages[0].content[0].image_url'],
    [user({ type: 'image_url', image_url: 7 }), 'messages[0].content[0].image_url'],
    [user({ type: 'image_url', image_url: {} }), 'messages[0].content[0].image_url.url'],
    [user({ type: 'image_url', image_url: { url: 7 } }), 'messages[0].content[0].image_url.url'],
    [user({ type: 'image_url', image_url: { url: '' } }), 'messages[0].content[0].image_url.url'],
    [
      user({ type: 'image_url', image_url: { url: 'x', detail: 'max' } }),
      'messages[0].content[0].image_url.detail',
    ],
    [user({ type: 'input_audio' }), 'messages[0].content[0].type', 'unsupported_parameter'],
    [user({ type: 'file' }), 'messages[0].content[0].type', 'unsupported_parameter'],
    [{ messages: [{ role: 'system', content: [image] }] }, 'messages[0].content[0]'],
    [{ messages, model: 'gpt-4o' }, 'model', 'model_not_found'],
    [{ messages, model: 7 }, 'model'],
    [{ messages, top_logprobs: 3 }, 'top_logprobs'],
    [{ messages, logprobs: true, top_logprobs: 21 }, 'top_logprobs'],
    [{ messages, logprobs: 3 }, 'logprobs'],
    [{ messages, continue_final_message: true }, 'continue_final_message'],
    [
      {
        messages: [{ role: 'assistant', content: 'x' }],
        continue_final_message: true,
        add_generation_prompt: true,
      },
      'continue_final_message',
    ],
    [{ messages, stop: '' }, 'stop'],
    [{ messages, stop: ['a', ''] }, 'stop[1]'],
    [{ messages, stop: [7] }, 'stop[0]'],
    [{ messages, stop: 7 }, 'stop'],
    [{ messages, stop: Array.from({ length: 17 }, () => 'a') }, 'stop'],
    [{ messages, stop_token_ids: [258] }, 'stop_token_ids[0]'],
    [{ messages, stop_token_ids: [0.5] }, 'stop_token_ids[0]'],
    [{ messages, cache_salt: '' }, 'cache_salt'],
    [{ messages, cache_salt: 7 }, 'cache_salt'],
    [{ messages, cache_salt: 'x'.repeat(257) }, 'cache_salt'],
    [{ messages, logit_bias: { '258': 1 } }, 'logit_bias'],
    [{ messages, logit_bias: { cat: 1 } }, 'logit_bias'],
    [{ messages, logit_bias: { '1': 101 } }, 'logit_bias.1'],
    [{ messages, logit_bias: [1] }, 'logit_bias'],
    [{ messages, stream: 'yes' }, 'stream'],
    [{ messages, stream_options: 7 }, 'stream_options'],
    [{ messages, stream_options: { include_usage: 'yes' } }, 'stream_options.include_usage'],
  ];
  it.each(cases)('refuses %j at %s', (body, param, code = 'invalid_request') => {
    const error = refusal(body);
    expect(error).toMatchObject({ param, code });
    if (param !== null && code === 'invalid_request')
      expect(error.message.startsWith(param)).toBe(true);
  });

  const numbers: [name: string, ...bad: unknown[]][] = [
    ['n', 0, 129, 1.5, '1', [1], {}, true, Infinity],
    ['temperature', -0.1, 2.1, '1', Infinity, -Infinity, []],
    ['top_p', -0.1, 1.1, '1', Infinity],
    ['top_k', -2, 1.5, 1e300, '1', Infinity],
    ['min_p', -0.1, 1.1, 'x', Infinity],
    ['repetition_penalty', 0, 1e-300, 0.009, -1, 11, Infinity],
    ['presence_penalty', -2.1, 2.1, Infinity],
    ['frequency_penalty', -2.1, 2.1, Infinity],
    ['max_tokens', -2, 1.5, 1e300, '5', Infinity],
    ['max_completion_tokens', -2, 1.5, 1e300, '5', Infinity],
    ['seed', 1.5, 1e300, '5', Infinity, -Infinity],
    ['top_logprobs', -1, 1.5, 21, Infinity],
  ];
  it.each(numbers)('refuses bad numbers for %s', (name: string, ...bad: unknown[]) => {
    for (const value of bad) {
      expect(refusal({ messages, logprobs: true, [name]: value }), String(value)).toMatchObject({
        param: name,
        code: 'invalid_request',
      });
    }
  });

  const unsupported: [name: string, value: unknown][] = [
    ['tools', [{ type: 'function' }]],
    ['tool_choice', 'auto'],
    ['tool_choice', { type: 'function' }],
    ['functions', [{}]],
    ['response_format', { type: 'json_object' }],
    ['response_format', { type: 'json_schema', json_schema: {} }],
    ['modalities', ['text', 'audio']],
    ['audio', {}],
    ['best_of', 2],
    ['web_search_options', {}],
    ['prediction', {}],
    ['suffix', 'x'],
    ['guided_json', {}],
    ['bad_words', ['x']],
    ['use_beam_search', true],
  ];
  it.each(unsupported)('refuses %s: %j by name', (name, value) => {
    expect(refusal({ messages, [name]: value })).toMatchObject({
      param: name,
      code: 'unsupported_parameter',
    });
  });

  it('names the served model when another is asked for', () => {
    expect(refusal({ messages, model: 'gpt-4o' }).message).toContain(STUB_CARD.id);
  });

  it('counts images over all messages', () => {
    const limits = { ...DEFAULT_LIMITS, maxImages: 2 };
    const body = {
      messages: [
        { role: 'user', content: [image] },
        { role: 'user', content: [image, image] },
      ],
    };
    expect(refusal(body, { limits })).toMatchObject({
      param: 'messages[1].content[1].image_url.url',
    });
  });

  it('refuses images for a model that reads text only', () => {
    const card = { ...STUB_CARD, acceptsImages: false };
    expect(refusal(user(image), { card })).toMatchObject({ code: 'unsupported_parameter' });
  });

  it('never repeats what the client wrote', () => {
    const secret = 'SECRET-PROMPT';
    const bodies = [
      { messages: secret },
      { messages: [secret] },
      { messages: [{ role: secret, content: '' }] },
      { messages: [{ role: 'user', content: [{ type: secret }] }] },
      { messages, model: secret },
      { messages, stop: [secret, ''] },
      { messages, seed: secret },
      { messages, tool_choice: secret },
      user({ type: 'image_url', image_url: { url: '', detail: secret } }),
    ];
    for (const body of bodies) expect(refusal(body).message).not.toContain(secret);
  });

  it('answers a million bad items with one error', () => {
    const many = Array.from({ length: 1_000_000 }, () => 1);
    expect(refusal({ messages: many })).toMatchObject({ param: 'messages' });
    expect(refusal({ messages, stop: many })).toMatchObject({ param: 'stop' });
    expect(refusal({ messages, stop_token_ids: many })).toMatchObject({ param: 'stop_token_ids' });
  });
});
