import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../adapters/fake/config.ts';
import type { CompletionEvent, ModelCard, PromptInput } from '../src/completer.ts';
import type { Engine } from '../src/engine/engine.ts';
import { createEngineCompleter, tokenBytesOf } from '../src/engine-completer.ts';
import { ServeError } from '../src/errors.ts';
import type { PromptWithCounts } from '../src/prompt/prepare.ts';
import { createByteTokenizer, FIRST_BYTE_ID } from './support/byte-tokenizer.ts';
import { collect, idsOf, request, textOf } from './support/completions.ts';
import { createTestEngine, GREEDY, testPrompt } from './support/engine-harness.ts';

const tokenizer = createByteTokenizer();
const CARD: ModelCard = {
  id: 'fake',
  createdSeconds: 0,
  contextTokens: 512,
  precision: 'fast',
  acceptsImages: true,
  vocabSize: 265,
  defaults: {
    temperature: 1,
    topK: 64,
    topP: 0.95,
    minP: 0,
    repetitionPenalty: 1,
    maxTokens: 20,
  },
};

/** Text prompts only; `{1}` stands for image 1. */
async function prepare(input: PromptInput): Promise<PromptWithCounts> {
  if (input.type !== 'text') throw new ServeError('invalid_request', 'text only');
  const parts = input.text
    .split(/\{(\d)\}/)
    .map((part, at) => (at % 2 === 1 ? Number(part) : part));
  const prompt = testPrompt(...parts);
  return { ...prompt, imageTokens: prompt.images.length * 4 };
}

function setUp(backendOptions: Parameters<typeof createTestEngine>[1] = {}) {
  const { engine, backend } = createTestEngine({}, backendOptions);
  const completer = createEngineCompleter({ engine, tokenizer, prepare, card: CARD });
  return { completer, backend, engine };
}

describe('engine completer', () => {
  it('starts once, streams text and finishes', async () => {
    const { completer } = setUp();
    const prompt = { type: 'text', text: 'See {1} and {2}', addBos: true } as const;
    const events = await collect(completer.complete(request({}, { prompt })));
    expect(events[0]).toEqual({
      type: 'start',
      promptTokens: 22,
      cachedTokens: 0,
      imageTokens: 8,
      store: null,
      prompt: null,
    });
    expect(events.filter(({ type }) => type === 'delta').length).toBeGreaterThanOrEqual(10);
    expect(events.at(-1)).toMatchObject({
      type: 'finish',
      index: 0,
      reason: 'length',
      stopReason: null,
      completionTokens: 10,
    });
    expect(textOf(events)).toBe(tokenizer.decode(idsOf(events)));
  });

  it('runs choices side by side, each with the text of its own seed', async () => {
    const { completer } = setUp();
    const together = await collect(completer.complete(request({}, { choiceCount: 3 })));
    expect(together.filter(({ type }) => type === 'start')).toHaveLength(1);
    expect(together[0]?.type).toBe('start');
    for (const index of [0, 1, 2]) {
      const alone = await collect(completer.complete(request({ seed: 5 + index })));
      expect(idsOf(together, index)).toEqual(idsOf(alone));
      expect(textOf(together, index)).toBe(textOf(alone));
    }
    expect(idsOf(together, 0)).not.toEqual(idsOf(together, 1));
    const deltas = together.flatMap((event) => (event.type === 'delta' ? [event.index] : []));
    expect(deltas).not.toEqual(deltas.toSorted((a, b) => a - b));
  });

  it('wraps seeds of later choices around', async () => {
    const { completer } = setUp();
    const wrapped = await collect(
      completer.complete(request({ seed: 2 ** 32 - 1 }, { choiceCount: 2 })),
    );
    const zero = await collect(completer.complete(request({ seed: 0 })));
    expect(idsOf(wrapped, 1)).toEqual(idsOf(zero));
  });

  it('takes what is left of the context, at most the default, as completion length', async () => {
    const { completer } = setUp();
    const finish = async (length: number): Promise<CompletionEvent | undefined> => {
      const prompt = { type: 'text', text: 'x'.repeat(length - 1), addBos: true } as const;
      return (await collect(completer.complete(request({ maxTokens: null }, { prompt })))).at(-1);
    };
    expect(await finish(6)).toMatchObject({ completionTokens: 20 });
    expect(await finish(505)).toMatchObject({ completionTokens: 7 });
    await expect(finish(512)).rejects.toMatchObject({ code: 'context_length_exceeded' });
    await expect(finish(600)).rejects.toMatchObject({ code: 'context_length_exceeded' });
  });

  it('reports the stop string, the stop id or nothing at the end of the turn', async () => {
    const { completer } = setUp();
    const printable = new Map(
      Array.from({ length: 26 }, (_, letter) => [FIRST_BYTE_ID + 97 + letter, 20] as const),
    );
    const free = await collect(completer.complete(request({ logitBias: printable })));
    const text = textOf(free);
    expect(text).toMatch(/^[a-z]{10}$/);
    const stop = text.slice(4, 6);
    const stopped = await collect(
      completer.complete(request({ logitBias: printable, stop: ['never there', stop] })),
    );
    expect(textOf(stopped)).toBe(text.slice(0, text.indexOf(stop)));
    expect(stopped.at(-1)).toMatchObject({ reason: 'stop', stopReason: stop });
    const stopIds = [idsOf(free)[3] ?? 0];
    const byId = await collect(completer.complete(request({ logitBias: printable, stopIds })));
    expect(byId.at(-1)).toMatchObject({ reason: 'stop', stopReason: stopIds[0] });
    const logitBias = new Map([[5, 100]]);
    const turn = await collect(completer.complete(request({ logitBias, ignoreEos: false })));
    expect(turn.at(-1)).toMatchObject({ reason: 'stop', stopReason: null, completionTokens: 1 });
    expect(textOf(turn)).toBe('');
  });

  it('gives text held back for a stop string that did not come before the finish', async () => {
    const { completer } = setUp();
    const free = await collect(
      completer.complete(request({ logitBias: new Map([[FIRST_BYTE_ID + 97, 100]]) })),
    );
    expect(textOf(free)).toBe('a'.repeat(10));
    const held = await collect(
      completer.complete(
        request({ logitBias: new Map([[FIRST_BYTE_ID + 97, 100]]), stop: [`${'a'.repeat(10)}b`] }),
      ),
    );
    expect(textOf(held)).toBe('a'.repeat(10));
    expect(held.at(-2)).toMatchObject({ type: 'delta', text: 'a'.repeat(10), tokens: [] });
  });

  it('never cuts a character in two between deltas', async () => {
    const { completer } = setUp();
    // U+20AC is three bytes; forcing them in turn needs one request per byte otherwise.
    const bytes = [...new TextEncoder().encode('€')];
    const logitBias = new Map(bytes.map((byte) => [byte + FIRST_BYTE_ID, 50] as const));
    const events = await collect(completer.complete(request({ logitBias, maxTokens: 60 })));
    const whole = tokenizer.decode(idsOf(events));
    expect(textOf(events).replaceAll('\ufffd', '')).toBe(whole.replaceAll('\ufffd', ''));
    expect(whole).toContain('€');
  });

  it('reports prompt and completion tokens with texts, bytes and equal floats', async () => {
    const { completer } = setUp();
    const events = await collect(
      completer.complete(
        request(
          { promptLogprobs: 2, logprobs: 2, temperature: 0 },
          { choiceCount: 2, returnTokenIds: true },
        ),
      ),
    );
    const [start] = events;
    const prompt = start?.type === 'start' ? (start.prompt ?? []) : [];
    expect(prompt.map(({ text }) => text)).toEqual(['<bos>', 'H', 'e', 'l', 'l', 'o']);
    expect(prompt[0]).toMatchObject({ id: 2, bytes: [], logprob: null, top: [] });
    expect(prompt[1]).toMatchObject({ id: 72 + FIRST_BYTE_ID, bytes: [72] });
    expect(prompt[1]?.top).toHaveLength(2);
    for (const event of events) {
      if (event.type !== 'delta') continue;
      for (const token of event.tokens) {
        // A greedy token is its own most likely alternative, unless that one is suppressed.
        const same = token.top.find(({ id }) => id === token.id);
        expect(same === undefined || Object.is(same.logprob, token.logprob)).toBe(true);
        expect(token.top).toHaveLength(2);
      }
    }
  });

  it('reports prompt ids without log probabilities when only ids are asked for', async () => {
    const { completer } = setUp();
    const [start] = await collect(completer.complete(request({}, { returnTokenIds: true })));
    const prompt = start?.type === 'start' ? start.prompt : null;
    expect(prompt?.map(({ id, logprob }) => [id, logprob])[1]).toEqual([81, null]);
  });

  it('aborts every choice with the request and gives all rows back', async () => {
    const { completer, engine } = setUp();
    const controller = new AbortController();
    const run = (async () => {
      const sampling = { maxTokens: 300 };
      const events = completer.complete(request(sampling, { choiceCount: 4 }), controller.signal);
      for await (const event of events) {
        if (event.type === 'delta') controller.abort(new Error('gone'));
      }
    })();
    await expect(run).rejects.toThrow('gone');
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, kvUsage: 0 });
  });

  it('ends all choices when one fails', async () => {
    let steps = 0;
    const { completer, backend } = setUp({
      beforeForward: () => {
        if (++steps === 6) throw new Error('device lost');
      },
    });
    const events = collect(completer.complete(request({ maxTokens: 300 }, { choiceCount: 3 })));
    await expect(events).rejects.toMatchObject({ code: 'internal' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(backend.rowsInUse()).toBe(0);
  });

  it('leaves room for what it said before only where the context is all that limits it', async () => {
    const { engine } = createTestEngine();
    const asked: number[] = [];
    const recording: Engine = {
      ...engine,
      generate: (prompt, params, signal) => {
        asked.push(params.maxTokens);
        return engine.generate(prompt, { ...params, maxTokens: 1 }, signal);
      },
    };
    const ask = async (maxTokens: number | null, saidTokens: number): Promise<void> => {
      const completer = createEngineCompleter({
        engine: recording,
        tokenizer,
        prepare: async (input) => ({
          ...(await prepare(input)),
          assistantSpans: [{ start: 1, end: 1 + saidTokens }],
        }),
        card: { ...CARD, defaults: { ...CARD.defaults, maxTokens: 1000 } },
      });
      const text = 'x'.repeat(399);
      const prompt = { type: 'text', text, addBos: true } as const;
      await collect(completer.complete(request({ maxTokens }, { prompt })));
    };
    await ask(null, 320);
    await ask(null, 17);
    await ask(112, 320);
    expect(asked).toEqual([112 - 20, 112 - 2, 112]);
  });

  it('tokenizes and detokenizes with special tokens kept', async () => {
    const { completer } = setUp();
    const ids = await completer.tokenize({ type: 'text', text: 'Hi', addBos: true });
    expect(ids).toEqual([2, 81, 114]);
    expect(completer.detokenize(ids)).toBe('<bos>Hi');
  });

  it('shows the state of its engine and drains it', async () => {
    const { completer } = setUp();
    expect(completer.state).toBe('ready');
    await completer.drain(1000);
    expect(completer.state).toBe('draining');
    await completer.close();
    expect(completer.state).toBe('closed');
  });
});

describe('token bytes', () => {
  it('suppresses padding rows, pad, bos and image markers, and spells no special token', () => {
    const tokens = tokenBytesOf(tokenizer, fakeModelConfig({ vocabSize: 268 }));
    expect(tokens.suppressed).toEqual([0, 2, 6, 7, 8, 265, 266, 267]);
    expect(Array.from(tokens.bytes(FIRST_BYTE_ID + 65))).toEqual([65]);
    for (const id of [1, 5, 8, 266]) expect(tokens.bytes(id)).toHaveLength(0);
  });

  it('lets nothing suppressed into any answer', async () => {
    const config = fakeModelConfig();
    const { engine } = createTestEngine({}, { config });
    const seen = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      const params = { ...GREEDY, temperature: 2, maxTokens: 60, seed };
      for await (const event of engine.generate(testPrompt('any'), params)) {
        if (event.type === 'token') seen.add(event.id);
      }
    }
    for (const id of tokenBytesOf(tokenizer, config).suppressed) expect(seen.has(id)).toBe(false);
    expect(seen.size).toBeGreaterThan(200);
  });
});
