import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import {
  type CompletionsCall,
  parseCompletionsRequest,
} from '../../src/openai/completions-request.ts';
import { DEFAULT_LIMITS, type RequestContext } from '../../src/openai/request-context.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const limits = { ...DEFAULT_LIMITS, maxPrompts: 4, maxChoices: 6 };

function parse(body: object, over: Partial<RequestContext> = {}): CompletionsCall {
  let seed = 0;
  return parseCompletionsRequest(body, {
    card: STUB_CARD,
    limits,
    randomSeed: () => ++seed,
    tenant: '',
    sessionKey: null,
    ...over,
  });
}

function refusal(body: object): ServeError {
  try {
    parse(body);
  } catch (error) {
    if (ServeError.is(error)) return error;
    throw error;
  }
  throw new Error('accepted');
}

const prompts = (body: object): unknown => parse(body).requests.map((request) => request.prompt);

const counts = (body: object): unknown => {
  const sampling = parse({ prompt: 'a', ...body }).requests[0]?.sampling;
  return [sampling?.logprobs, sampling?.promptLogprobs];
};

const seeds = (body: object): unknown =>
  parse({ prompt: ['a', 'a', 'a'], ...body }).requests.map(({ sampling }) => sampling.seed);

const scopes = (body: object): unknown =>
  parse({ prompt: ['a', 'b'], ...body }, { tenant: 'a1' }).requests.map(({ scope }) => scope);

describe('prompts', () => {
  it('reads a string, ids, and lists of both', () => {
    expect(prompts({ prompt: 'a' })).toEqual([{ type: 'text', text: 'a', addBos: true }]);
    expect(prompts({ prompt: [1, 2] })).toEqual([{ type: 'tokens', ids: [1, 2] }]);
    expect(prompts({ prompt: ['a', [3]], add_special_tokens: false })).toEqual([
      { type: 'text', text: 'a', addBos: false },
      { type: 'tokens', ids: [3] },
    ]);
  });

  it('generates 16 tokens unless told otherwise, and none when told so', () => {
    expect(parse({ prompt: 'a' }).requests[0]?.sampling.maxTokens).toBe(16);
    expect(parse({ prompt: 'a', max_tokens: 0 }).requests[0]?.sampling.maxTokens).toBe(0);
  });

  it('puts every prompt into the scope of tenant and salt', () => {
    expect(scopes({})).toEqual(['a1', 'a1']);
    expect(scopes({ cache_salt: 'pepper' })).toEqual(['a1\0pepper', 'a1\0pepper']);
  });

  it('asks for prompt log probabilities only to echo them', () => {
    expect(counts({})).toEqual([null, null]);
    expect(counts({ echo: true })).toEqual([null, null]);
    expect(counts({ logprobs: 0 })).toEqual([0, null]);
    expect(counts({ logprobs: 2, echo: true })).toEqual([2, 2]);
  });

  it('draws a seed per prompt, but keeps the one that was asked for', () => {
    expect(seeds({})).toEqual([1, 2, 3]);
    expect(seeds({ seed: 9 })).toEqual([9, 9, 9]);
  });

  it.each([
    [{}, 'prompt'],
    [{ prompt: null }, 'prompt'],
    [{ prompt: 7 }, 'prompt'],
    [{ prompt: {} }, 'prompt'],
    [{ prompt: [] }, 'prompt'],
    [{ prompt: [[]] }, 'prompt[0]'],
    [{ prompt: ['a', 7] }, 'prompt[1]'],
    [{ prompt: ['a', null] }, 'prompt[1]'],
    [{ prompt: [1, 'a'] }, 'prompt[1]'],
    [{ prompt: [1, 258] }, 'prompt[1]'],
    [{ prompt: [1, -1] }, 'prompt[1]'],
    [{ prompt: [1, 0.5] }, 'prompt[1]'],
    [{ prompt: [1, Infinity] }, 'prompt[1]'],
    [{ prompt: [[1], [true]] }, 'prompt[1][0]'],
    [{ prompt: ['a', 'b', 'c', 'd', 'e'] }, 'prompt'],
    [{ prompt: ['a', 'b'], n: 4 }, 'n'],
    [{ prompt: 'a', logprobs: 21 }, 'logprobs'],
    [{ prompt: 'a', logprobs: true }, 'logprobs'],
    [{ prompt: 'a', echo: 1 }, 'echo'],
    [{ prompt: 'a', best_of: 2 }, 'best_of'],
    [{ prompt: 'a', suffix: 'b' }, 'suffix'],
    [{ prompt: 'a', cache_salt: '' }, 'cache_salt'],
  ] as const)('refuses %j at %s', (body, param) => {
    expect(refusal(body).param).toBe(param);
  });
});
