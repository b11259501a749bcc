import { afterEach, describe, expect, it } from 'vitest';
import { createByteTokenizer } from '../../support/byte-tokenizer.ts';
import { collect, idsOf, textOf } from '../../support/completions.ts';
import { createFakeEngineCompleter } from '../../support/fake-engine-completer.ts';
import type { FakeKind } from '../../support/fake-upstream.ts';
import {
  BY_IDS,
  CHAT,
  createUpstreamHarness,
  finishOf,
  plainRequest,
} from '../../support/upstream-harness.ts';

const tokenizer = createByteTokenizer();
const harness = createUpstreamHarness();
const { start } = harness;

afterEach(() => harness.close());

const TAKING_IDS = [
  ['vllm', '/v1/completions'],
  ['sglang', '/generate'],
  ['llama.cpp', '/completion'],
] as const;
const ALL: readonly FakeKind[] = ['vllm', 'sglang', 'llama.cpp', 'tgi', 'openai'];

describe.each(TAKING_IDS)('%s with our tokenizer', (kind, path) => {
  it('gets our ids for a conversation', async () => {
    const { upstream, completer } = await start({ kind }, BY_IDS);
    await collect(completer.complete(plainRequest({}, { prompt: CHAT })));
    const expected = await createFakeEngineCompleter().completer.tokenize(CHAT);
    const [asked] = upstream.asked;
    expect(asked?.path).toBe(path);
    expect(asked?.body['input_ids'] ?? asked?.body['prompt']).toEqual(expected);
  });

  it('says the text, its ids with log probabilities, and the counts', async () => {
    const { completer } = await start({ kind, cachedTokens: 4 }, BY_IDS);
    const events = await collect(
      completer.complete(
        plainRequest({ maxTokens: 30, logprobs: 2, topK: 3 }, { returnTokenIds: true }),
      ),
    );
    expect(textOf(events)).toBe('Hé5');
    expect(idsOf(events)).toEqual([...tokenizer.encode('Hé5'), 5]);
    const tokens = events.flatMap((event) => (event.type === 'delta' ? event.tokens : []));
    // The second token is the first byte of é.
    expect(tokens[1]).toMatchObject({ text: '\uFFFD', bytes: [0xc3] });
    expect(tokens[1]?.logprob).toBeCloseTo(-((0xc3 + 9) % 7) / 8);
    expect(tokens[1]?.top.map(({ id }) => id)).toEqual([0xc3 + 9, 0xc3 + 10]);
    const [first] = events;
    expect(first).toMatchObject({ type: 'start', promptTokens: 6 });
    expect(first?.type === 'start' && first.prompt?.map(({ id }) => id)).toEqual([
      2,
      ...tokenizer.encode('Hello'),
    ]);
    const finish = finishOf(events);
    expect(finish).toMatchObject({ reason: 'stop', stopReason: null, completionTokens: 5 });
    const early = first?.type === 'start' ? first.cachedTokens : 0;
    expect(early + (finish?.late?.cachedTokens ?? 0)).toBe(4);
    expect(finish).toMatchObject({ late: { promptTokens: 0 } });
  });

  it('streams the text without reports when none are asked for', async () => {
    const { completer } = await start({ kind }, BY_IDS);
    const events = await collect(completer.complete(plainRequest({ maxTokens: 30 })));
    expect(textOf(events)).toBe('Hé5');
    expect(events.filter(({ type }) => type === 'delta').length).toBeGreaterThan(1);
    expect(finishOf(events)).toMatchObject({ completionTokens: 5 });
  });
});

describe.each(ALL)('%s by messages', (kind) => {
  it('answers a conversation', async () => {
    const { upstream, completer } = await start({ kind, cachedTokens: 3 });
    const sampling = { maxTokens: 30, topK: 0, logprobs: 1 };
    const events = await collect(completer.complete(plainRequest(sampling, { prompt: CHAT })));
    expect(upstream.asked[0]?.path).toBe('/v1/chat/completions');
    expect(upstream.asked[0]?.body).toMatchObject({
      model: 'gemma',
      messages: [{ role: 'user', content: 'Hi' }],
      stream: true,
    });
    expect(textOf(events)).toBe('Hé5');
    expect(finishOf(events)).toMatchObject({
      reason: 'stop',
      stopReason: null,
      completionTokens: 5,
      late: { promptTokens: 11, cachedTokens: 3 },
    });
    const [token] = events.flatMap((event) => (event.type === 'delta' ? event.tokens : []));
    expect(token).toMatchObject({ text: 'H', bytes: [0x48] });
    expect(token?.top.map(({ text }) => text)).toEqual(['H']);
  });

  it('continues a text', async () => {
    const { completer } = await start({ kind });
    const events = await collect(completer.complete(plainRequest({ maxTokens: 30, topK: 0 })));
    expect(textOf(events)).toBe('Hé5');
    expect(finishOf(events)).toMatchObject({ reason: 'stop', completionTokens: 5 });
  });

  it('tells a limit from an end, and cuts before a stop string', async () => {
    const { completer } = await start({ kind, reply: 'one STOP two ' });
    const limited = await collect(completer.complete(plainRequest({ maxTokens: 3, topK: 0 })));
    expect(textOf(limited)).toBe('one');
    expect(finishOf(limited)).toMatchObject({ reason: 'length', stopReason: null });
    for (const prompt of [CHAT, plainRequest().prompt]) {
      const sampling = { maxTokens: 30, topK: 0, stop: ['STOP', 'two'] };
      const events = await collect(completer.complete(plainRequest(sampling, { prompt })));
      expect(textOf(events)).toBe('one ');
      expect(finishOf(events)).toMatchObject({ reason: 'stop' });
    }
  });

  it('asks for each choice with a seed of its own', async () => {
    const { upstream, completer } = await start({ kind });
    const events = await collect(
      completer.complete(plainRequest({ seed: 2 ** 32 - 1, topK: 0 }, { choiceCount: 3 })),
    );
    expect([0, 1, 2].map((index) => textOf(events, index))).toEqual(['Hé4294967295', 'Hé0', 'Hé1']);
    expect(upstream.asked).toHaveLength(3);
    expect(events.filter(({ type }) => type === 'start')).toHaveLength(1);
  });

  it('computes a prompt without an answer', async () => {
    const { completer } = await start({ kind });
    const events = await collect(completer.complete(plainRequest({ maxTokens: 0, topK: 0 })));
    expect(textOf(events)).toBe('');
    expect(finishOf(events)).toMatchObject({ reason: 'length', completionTokens: 0 });
  });

  it('describes the model', async () => {
    const { completer } = await start({ kind });
    expect(() => completer.model).toThrow('not known yet');
    const card = await completer.describe?.();
    expect(card).toMatchObject({ id: 'gemma', contextTokens: 512, acceptsImages: true });
    expect(card?.defaults.topK).toBe(kind === 'tgi' || kind === 'openai' ? 0 : 64);
    expect(completer.state).toBe('ready');
  });
});

describe('SGLang', () => {
  it('may tell increments', async () => {
    const { completer } = await start({ kind: 'sglang', isIncremental: true }, BY_IDS);
    const events = await collect(completer.complete(plainRequest({ maxTokens: 30, logprobs: 0 })));
    expect(textOf(events)).toBe('Hé5');
    expect(idsOf(events)).toEqual([...tokenizer.encode('Hé5'), 5]);
  });

  it('shows the beginning of a stop string, which is held back here', async () => {
    const { completer } = await start({ kind: 'sglang', reply: 'ab STOP' }, BY_IDS);
    const deltas: string[] = [];
    const sampling = { maxTokens: 30, stop: ['STOP'] };
    for await (const event of completer.complete(plainRequest(sampling))) {
      if (event.type === 'delta') deltas.push(event.text);
      if (event.type === 'finish') expect(event.stopReason).toBe('STOP');
    }
    expect(deltas.join('')).toBe('ab ');
  });
});
