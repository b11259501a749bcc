import { describe, expect, it } from 'vitest';
import type { TokenReport } from '../../src/completer.ts';
import { chatLogprobs, createLegacyLogprobs } from '../../src/openai/logprobs.ts';

const encoder = new TextEncoder();

function token(
  text: string,
  logprob: number | null,
  top: readonly (readonly [string, number])[] = [],
): TokenReport {
  const bytes = [...encoder.encode(text)];
  return {
    id: 1,
    text,
    bytes,
    logprob,
    top: top.map(([other, value], id) => ({ id, text: other, bytes: [], logprob: value })),
  };
}

describe('text completion log probabilities', () => {
  it('keeps the likelier of two tokens with one text, and always the token itself', () => {
    const [one, two, three] = createLegacyLogprobs().write([
      token('a', -0.5, [
        ['a', -0.5],
        ['b', -2],
      ]),
      token('a', -3, [
        ['a', -0.25],
        ['b', -2],
      ]),
      token('z', -4, [['a', -0.25]]),
    ]).top_logprobs;
    expect(one).toEqual({ a: -0.5, b: -2 });
    expect(two).toEqual({ a: -0.25, b: -2 });
    expect(three).toEqual({ a: -0.25, z: -4 });
  });

  it('gives the first prompt token nulls', () => {
    const written = createLegacyLogprobs().write([token('<bos>', null), token('a', -1)]);
    expect(written.token_logprobs).toEqual([null, -1]);
    expect(written.top_logprobs).toEqual([null, { a: -1 }]);
  });

  it('counts offsets in characters, over pieces and split characters', () => {
    const writer = createLegacyLogprobs();
    const part = (bytes: number[]): TokenReport => ({ ...token('\uFFFD', -1), bytes });
    const bos = { ...token('<bos>', null), bytes: [] };
    expect(writer.write([bos, token('añ', -1), part([0xf0, 0x9f])]).text_offset).toEqual([0, 0, 2]);
    expect(writer.write([part([0x91, 0x8b]), token('!', -1)]).text_offset).toEqual([2, 3]);
  });

  it('counts special tokens where their spelling stands in the text', () => {
    const bos = { ...token('<bos>', null), bytes: [] };
    const writer = createLegacyLogprobs();
    expect(writer.write([bos, token('a', -1)], true).text_offset).toEqual([0, 5]);
    expect(writer.write([token('b', -1)]).text_offset).toEqual([6]);
  });

  it('survives tokens named like object members', () => {
    const written = createLegacyLogprobs().write([
      token('__proto__', -1),
      token('constructor', -2),
    ]);
    expect(JSON.stringify(written.top_logprobs)).toBe('[{"__proto__":-1},{"constructor":-2}]');
  });

  it('writes numbers for impossible tokens', () => {
    const written = createLegacyLogprobs().write([token('a', -1, [['b', -Infinity]])]);
    expect(written.top_logprobs).toEqual([{ a: -1, b: -9999 }]);
  });
});

describe('chat log probabilities', () => {
  it('lists tokens with bytes and alternatives', () => {
    expect(chatLogprobs([token('é', -1, [['x', -2]])])).toEqual({
      content: [
        {
          token: 'é',
          logprob: -1,
          bytes: [0xc3, 0xa9],
          top_logprobs: [{ token: 'x', logprob: -2, bytes: [] }],
        },
      ],
      refusal: null,
    });
  });
});
