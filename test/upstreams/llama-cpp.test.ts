import { expect, it } from 'vitest';
import { CHAT, TEXT, textOf, type Usage } from '../contracts/http-client.ts';
import { DEMO_CASES, picturesOf, readDemoPicture } from '../support/demo-cases.ts';
import { readDemoFile } from '../support/demo-model.ts';
import { describeLlama } from './describe-llama.ts';
import { type Front, goldenMessages, picture, textsOf, user } from './front.ts';
import { LLAMA_CONTEXT } from './llama-server.ts';

const HELLO = [user('Hello')];
const REPLY = 'Hello! Send me a picture and I will describe it.';
const REPLY_TOKENS = 11;
const GREEDY = { temperature: 0, max_tokens: 40 };
/** Of ` a`. */
const A_ID = 369;
/** Of `Hello!`. */
const HELLO_ID = 581;
/** Its picture is as wide as high. */
const SQUARE_CASE = 14;

describeLlama('what a real llama.cpp says', (way, { front, gemlet, llama }) => {
  it('is of the model that it serves', async () => {
    const card = await front(way).completer.describe?.();
    expect(card).toMatchObject({ id: 'gemma', contextTokens: LLAMA_CONTEXT, vocabSize: 2048 });
    expect(card?.acceptsImages).toBe(true);
  });

  it('is what the reference says, from as many tokens', async () => {
    const texts = DEMO_CASES.filter((each) => picturesOf(each).length === 0);
    expect(texts.length).toBeGreaterThan(2);
    for (const each of texts) {
      const body = { messages: goldenMessages(each), ...GREEDY };
      const { choices, usage } = await front(way).answer(CHAT, body);
      expect(choices[0]?.message?.content).toBe(each.text);
      expect(usage).toMatchObject({
        prompt_tokens: each.prompt_ids.length,
        completion_tokens: each.greedy_ids.length,
      });
    }
  });

  it('comes in pieces, with its usage', async () => {
    const include = { stream_options: { include_usage: true } };
    const chunks = await front(way).stream(CHAT, { messages: HELLO, ...GREEDY, ...include });
    expect(textOf(chunks)).toBe(REPLY);
    expect(chunks.length).toBeGreaterThan(5);
    expect(chunks.at(-1)?.usage?.completion_tokens).toBe(REPLY_TOKENS);
  });

  it('is the same for the same seed, and another for each choice', async () => {
    const body = { prompt: 'a a a', n: 3, seed: 4, temperature: 2, top_k: 40, max_tokens: 6 };
    const first = textsOf(await front(way).answer(TEXT, body));
    expect(new Set(first).size).toBe(3);
    expect(textsOf(await front(way).answer(TEXT, body))).toEqual(first);
    const next = textsOf(await front(way).answer(TEXT, { ...body, n: 1, seed: 5 }));
    expect(next).toEqual([first[1]]);
  });

  it.each([
    ['nothing more', {}],
    ['a repetition penalty', { repetition_penalty: 1.8 }],
    ['a ban', { logit_bias: { [HELLO_ID]: -100 } }],
    ['a wish for a token', { logit_bias: { '438': 30 }, max_tokens: 3 }],
    ['the likeliest token', { temperature: 1, top_k: 1 }],
    ['the smallest nucleus', { temperature: 1, top_p: 0, top_k: 0 }],
    ['the highest floor', { temperature: 2, min_p: 1, top_p: 1, top_k: 0 }],
  ])('is with %s what gemlet says', async (_, wish) => {
    const body = { messages: HELLO, ...GREEDY, ...wish };
    expect(await front(way).say(body)).toBe(await gemlet().say(body));
  });

  it('goes on past its end by a ban of the end’s token, where gemlet goes on after it', async () => {
    const body = { messages: HELLO, ...GREEDY, ignore_eos: true, max_tokens: 30 };
    const { choices, usage } = await front(way).answer(CHAT, body);
    expect(choices[0]?.message?.content).toMatch(/describe it\. it\. it/);
    expect(usage?.completion_tokens).toBe(30);
    expect(await gemlet().say(body)).not.toMatch(/it\. it/);
  });

  it('keeps clear of the prompt’s tokens by presence and frequency penalties, which gemlet does not', async () => {
    // The least that makes it the likeliest, so that little is enough against it.
    let bias = 0;
    while ((await afterAs(gemlet(), bias, {})) !== ' a') bias++;
    for (const wish of [{ presence_penalty: 2 }, { frequency_penalty: 2 }]) {
      expect(await afterAs(front(way), bias, {})).toBe(' a');
      expect(await afterAs(gemlet(), bias, wish)).toBe(' a');
      expect(await afterAs(front(way), bias, wish)).not.toBe(' a');
    }
  });

  it('has the log probabilities that gemlet has', async () => {
    const body = { messages: HELLO, ...GREEDY, logprobs: true, top_logprobs: 2 };
    const tokens = (await gemlet().answer(CHAT, body)).choices[0]?.logprobs?.content ?? [];
    const told = (await front(way).answer(CHAT, body)).choices[0]?.logprobs?.content ?? [];
    // By messages the token that ends the turn is not told.
    const expected = way === 'ids' ? REPLY_TOKENS : REPLY_TOKENS - 1;
    expect([tokens.length, told.length]).toEqual([REPLY_TOKENS, expected]);
    for (const [at, { token, logprob }] of told.entries()) {
      expect(token).toBe(tokens[at]?.token);
      expect(Math.abs(logprob - (tokens[at]?.logprob ?? 0))).toBeLessThan(1e-3);
    }
  });

  it('tells how much of a prompt was cached', async () => {
    const body = { messages: [user('What category is a mouse?')], ...GREEDY };
    await front(way).answer(CHAT, body);
    const { usage } = await front(way).answer<{ readonly usage: CachedUsage }>(CHAT, body);
    const { prompt_tokens: all, prompt_tokens_details: details } = usage;
    // It goes back to where it kept the window of its local layers.
    expect(details.cached_tokens).toBeGreaterThan(all / 2);
    expect(details.cached_tokens).toBeLessThan(all);
  });

  it('is sampled by Gemma’s defaults, not by those of llama.cpp', async () => {
    await front(way).say({ messages: HELLO, max_tokens: 3 });
    expect(await llama().lastSampling()).toMatchObject({
      temperature: 1,
      top_k: 64,
      top_p: expect.closeTo(0.95),
      min_p: 0,
      repeat_penalty: 1,
      repeat_last_n: 0,
      samplers: ['penalties', 'temperature', 'top_k', 'top_p', 'min_p'],
    });
  });

  it('shows bytes that are no UTF-8 as U+FFFD', async () => {
    const wild = { temperature: 2, top_p: 1, top_k: 0, max_tokens: 300, ignore_eos: true, seed: 1 };
    const text = await front(way).answer(TEXT, { ...wild, prompt: 'a' });
    expect(textOf([text])).toContain('\uFFFD');
    const chat = { ...wild, messages: HELLO, logit_bias: { [HELLO_ID]: -100 } };
    expect(await front(way).say(chat)).toContain('\uFFFD');
  });

  it('ends before a stop string, and not before the beginning of one', async () => {
    const body = { messages: HELLO, ...GREEDY, stop: [' picture', 'never'] };
    const [whole] = (await front(way).answer(CHAT, body)).choices;
    expect(whole?.message?.content).toBe('Hello! Send me a');
    expect(whole?.finish_reason).toBe('stop');
    // By messages it does not say which.
    expect(whole?.stop_reason ?? null).toBe(way === 'ids' ? ' picture' : null);
    expect(textOf(await front(way).stream(CHAT, body))).toBe('Hello! Send me a');
    const begun = { messages: HELLO, ...GREEDY, stop: ['describe it. Really'], logprobs: true };
    expect(textOf(await front(way).stream(CHAT, begun))).toBe(REPLY);
  });

  it('is nothing where only the prompt is to be computed', async () => {
    const { choices, usage } = await front(way).answer(CHAT, { messages: HELLO, max_tokens: 0 });
    expect(choices[0]).toMatchObject({ message: { content: '' }, finish_reason: 'length' });
    expect(usage?.completion_tokens).toBe(0);
  });

  it('is of pictures, without the line feeds that Gemma has around them', async () => {
    const text = { type: 'text', text: 'Describe this image.' };
    const square = DEMO_CASES.find(({ case: number }) => number === SQUARE_CASE);
    const [file = ''] = square === undefined ? [] : picturesOf(square);
    for (const [bytes, isSame] of [
      [readDemoPicture(file), true],
      // Higher than wide: llama.cpp puts black beside it, Gemma stretches it, as we do with a bundle.
      [readDemoFile('example.png'), way === 'ids'],
    ] as const) {
      const body = { messages: [user([picture(bytes), text])], ...GREEDY };
      const mine = await gemlet().answer(CHAT, body);
      const theirs = await front(way).answer(CHAT, body);
      expect(textsOf(theirs)[0] === textsOf(mine)[0]).toBe(isSame);
      expect((mine.usage?.prompt_tokens ?? 0) - (theirs.usage?.prompt_tokens ?? 0)).toBe(1);
    }
  });
});

/** The one token that follows when ` a` is wished for. */
async function afterAs(one: Front, bias: number, wish: object): Promise<string> {
  const body = { prompt: 'a a a a', ...GREEDY, max_tokens: 1, ...wish };
  return textOf([await one.answer(TEXT, { ...body, logit_bias: { [A_ID]: bias } })]);
}

interface CachedUsage extends Usage {
  readonly prompt_tokens_details: { readonly cached_tokens: number };
}
