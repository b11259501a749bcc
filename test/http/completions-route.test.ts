import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createAppHarness, frames, untilAborted } from '../support/app-harness.ts';
import { STUB_CARD, type StubOptions } from '../support/stub-completer.ts';

/** By the length of a prompt. */
const store: StubOptions['store'] = ({ prompt }) => {
  const length = prompt.type === 'tokens' ? prompt.ids.length : 0;
  if (length === 1) return null;
  return { choice: length < 4 ? 'recompute' : 'restore', tokens: length };
};

describe('POST /v1/completions', () => {
  interface Answer {
    choices: {
      index: number;
      text: string;
      finish_reason: string;
      logprobs: null | {
        tokens: string[];
        token_logprobs: (number | null)[];
        top_logprobs: (Record<string, number> | null)[];
        text_offset: number[];
      };
      prompt_token_ids?: number[];
      token_ids?: number[];
    }[];
    usage: {
      prompt_tokens: number;
      completion_tokens: number;
      prompt_tokens_details: { kv_store?: unknown };
    };
  }

  async function answerOf(response: Response): Promise<Answer> {
    expect(response.status).toBe(200);
    return (await response.json()) as Answer;
  }

  it('gives every prompt its own choices, in order', async () => {
    const { send } = createAppHarness();
    const answer = await answerOf(
      await send('/v1/completions', { prompt: ['a', [1, 2, 3, 4], 'abc'], n: 2 }),
    );
    expect(answer.choices.map((choice) => [choice.index, choice.text])).toEqual([
      [0, '2:0'],
      [1, '2:1'],
      [2, '4:0'],
      [3, '4:1'],
      [4, '4:0'],
      [5, '4:1'],
    ]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 2 + 4 + 4, completion_tokens: 6 * 4 });
  });

  it('adds up what a store held of several prompts; a restore stands before the rest', async () => {
    const { send } = createAppHarness({}, { store });
    const usedOf = async (...lengths: number[]): Promise<unknown> => {
      const prompt = lengths.map((length) => Array.from({ length }, () => 65));
      const { usage } = await answerOf(await send('/v1/completions', { prompt }));
      return usage.prompt_tokens_details.kv_store;
    };
    expect(await usedOf(1)).toBeUndefined();
    expect(await usedOf(2, 1, 3)).toEqual({ choice: 'recompute', tokens: 5 });
    expect(await usedOf(4, 2, 5)).toEqual({ choice: 'restore', tokens: 9 });
    expect(await usedOf(2, 4)).toEqual({ choice: 'restore', tokens: 4 });
  });

  it('runs at most eight prompts at once', async () => {
    const { send, completer } = createAppHarness();
    await answerOf(
      await send('/v1/completions', { prompt: Array.from({ length: 20 }, () => 'a') }),
    );
    expect(completer.requests.length).toBe(20);
    expect(completer.peakCount).toBe(8);
  });

  it('gives an evaluation harness what it needs: echo, one token, natural logs', async () => {
    const { send } = createAppHarness();
    const prompt = [
      [256, 72, 105],
      [256, 72, 105, 33],
    ];
    const body = {
      model: STUB_CARD.id,
      prompt,
      temperature: 0,
      max_tokens: 1,
      logprobs: 1,
      seed: 1234,
      echo: true,
    };
    const answer = await answerOf(await send('/v1/completions', body));
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1]);
    for (const [at, { logprobs, text }] of answer.choices.entries()) {
      const length = (prompt[at]?.length ?? 0) + 1;
      expect(text.startsWith('<bos>Hi')).toBe(true);
      expect(logprobs?.token_logprobs.length).toBe(length);
      expect(logprobs?.top_logprobs.length).toBe(length);
      expect(logprobs?.token_logprobs[0]).toBeNull();
      expect(logprobs?.top_logprobs[0]).toBeNull();
      for (let token = 1; token < length; token++) {
        const best = Math.max(...Object.values(logprobs?.top_logprobs[token] ?? {}));
        expect(logprobs?.token_logprobs[token]).toBe(best);
      }
      // Offsets point at each token in the text.
      for (const [token, offset] of (logprobs?.text_offset ?? []).entries()) {
        expect(text.slice(offset).startsWith(logprobs?.tokens[token] ?? '?')).toBe(true);
      }
    }
  });

  it('scores a prompt without generating', async () => {
    const { send } = createAppHarness();
    const answer = await answerOf(
      await send('/v1/completions', { prompt: 'abc', max_tokens: 0, echo: true, logprobs: 0 }),
    );
    expect(answer.choices[0]).toMatchObject({ text: 'abc', finish_reason: 'length' });
    expect(answer.choices[0]?.logprobs?.tokens).toEqual(['<bos>', 'a', 'b', 'c']);
    expect(answer.choices[0]?.logprobs?.text_offset).toEqual([0, 0, 1, 2]);
  });

  it('streams the same as it answers whole', async () => {
    const { send } = createAppHarness();
    const body = { prompt: ['ab', [99]], n: 2, echo: true, logprobs: 2, return_token_ids: true };
    const whole = await answerOf(await send('/v1/completions', body));
    const rebuilt = new Map<number, Answer['choices'][number]>();
    for (const chunk of await frames(await send('/v1/completions', { ...body, stream: true }))) {
      for (const piece of chunk['choices'] as Answer['choices']) {
        const known = rebuilt.get(piece.index);
        if (known === undefined) {
          rebuilt.set(piece.index, piece);
          continue;
        }
        known.text += piece.text;
        known.finish_reason = piece.finish_reason;
        known.token_ids?.push(...(piece.token_ids ?? []));
        for (const key of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset'] as const) {
          (known.logprobs?.[key] as unknown[] | undefined)?.push(...(piece.logprobs?.[key] ?? []));
        }
      }
    }
    const fields = ({
      index,
      text,
      finish_reason,
      logprobs,
      token_ids,
      prompt_token_ids,
    }: Answer['choices'][number]): object => ({
      index,
      text,
      finish_reason,
      logprobs,
      token_ids,
      prompt_token_ids,
    });
    const sorted = [...rebuilt.values()].toSorted((one, two) => one.index - two.index);
    expect(sorted.map(fields)).toEqual(whole.choices.map(fields));
  });

  it('gives every prompt the scope of its tenant and salt', async () => {
    const { send, completer } = createAppHarness({ apiKeys: ['one'] });
    const init = { headers: { 'x-api-key': 'one' } };
    await answerOf(await send('/v1/completions', { prompt: ['a', [1]], cache_salt: 's' }, init));
    const [first, second] = completer.requests.map(({ scope }) => scope);
    expect(first).toMatch(/^[0-9a-f]{32}\0s$/);
    expect(second).toBe(first);
  });

  it('stops the other prompts when one is refused', async () => {
    const { send, completer } = createAppHarness(
      {},
      {
        failure: ({ prompt }) =>
          prompt.type === 'tokens'
            ? new ServeError('context_length_exceeded', 'Too long.', { param: 'prompt' })
            : undefined,
        gate: (at, signal) => (at < 1 ? Promise.resolve() : untilAborted(at, signal)),
      },
    );
    const response = await send('/v1/completions', { prompt: ['a', 'b', [1]] });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { code: 'context_length_exceeded', param: 'prompt' },
    });
    expect(completer.activeCount).toBe(0);
    expect(completer.abortedCount).toBe(3);
  });
});
