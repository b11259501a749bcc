import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { GenerateEvent, SamplingParams } from '../../src/engine/engine.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import type { EngineEvent } from '../../src/engine/local-engine.ts';
import { FIRST_BYTE_ID } from '../support/byte-tokenizer.ts';
import {
  collect,
  createTestEngine,
  GREEDY,
  idsOf,
  reading,
  testImage,
  testPrompt,
} from '../support/engine-harness.ts';

const SAMPLED: SamplingParams = { ...GREEDY, temperature: 1, topK: 40, topP: 0.95, maxTokens: 24 };
const lastOf = (events: readonly GenerateEvent[]): GenerateEvent | undefined => events.at(-1);
/** Lets everything that can happen without time passing happen. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function textOf(events: readonly GenerateEvent[]): number[] {
  return events.flatMap((event) =>
    event.type === 'token' || event.type === 'finish' ? [...event.bytes] : [],
  );
}

describe('local engine', () => {
  it('reports the prompt, then tokens, then one finish', async () => {
    const { engine, backend } = createTestEngine();
    const events = await collect(engine.generate(testPrompt('Hello'), { ...GREEDY, maxTokens: 3 }));
    expect(events.map(({ type }) => type)).toEqual([
      'prefill-end',
      'token',
      'token',
      'token',
      'finish',
    ]);
    expect(events[0]).toMatchObject({ promptTokens: 6, cachedTokens: 0, promptLogprobs: null });
    expect(lastOf(events)).toMatchObject({
      reason: 'length',
      stopIndex: null,
      stopId: null,
      promptTokens: 6,
      completionTokens: 3,
    });
    await settle();
    // The row stays warm for the next turn.
    expect([backend.rowsInUse(), engine.stats().warmRows, engine.stats().running]).toEqual([
      1, 1, 0,
    ]);
  });

  it('gives the same text for the same seed alone, beside others and at any row', async () => {
    const prompt = testPrompt('The same ', 1, ' prompt');
    const params = { ...SAMPLED, seed: 77 };
    const alone = idsOf(await collect(createTestEngine().engine.generate(prompt, params)));
    const { engine } = createTestEngine();
    const crowd = await Promise.all(
      [0, 1, 2, 3, 4, 5, 6].map((index) =>
        index % 2 === 1
          ? collect(engine.generate(prompt, params))
          : collect(engine.generate(testPrompt(`other ${index}`), { ...SAMPLED, seed: index })),
      ),
    );
    for (const index of [1, 3, 5]) expect(idsOf(crowd[index] ?? [])).toEqual(alone);
    expect(idsOf(crowd[0] ?? [])).not.toEqual(alone);
    const other = idsOf(await collect(engine.generate(prompt, { ...params, seed: 78 })));
    expect(other).not.toEqual(alone);
  });

  it('draws every token anew: the draw depends on its index', async () => {
    // One byte or another at even odds, whatever the row holds.
    const logitBias = new Map([
      [20, 1000],
      [21, 1000],
    ]);
    const params = { ...GREEDY, temperature: 1000, topK: 2, logitBias, maxTokens: 100, seed: 3 };
    const ids = idsOf(await collect(createTestEngine().engine.generate(testPrompt('x'), params)));
    const count = ids.filter((id) => id === 20).length;
    expect(count).toBeGreaterThan(20);
    expect(count).toBeLessThan(80);
  });

  it('gives the same text whatever the chunk size', async () => {
    const prompt = testPrompt('a long prompt that needs several chunks '.repeat(4), 3, ' end');
    const texts = await Promise.all(
      [3, 5, 17, 64, 256].map(async (chunkTokens) => {
        const { engine } = createTestEngine({}, { chunkTokens, alignTokens: 8 });
        return idsOf(await collect(engine.generate(prompt, SAMPLED))).join();
      }),
    );
    expect(new Set(texts).size).toBe(1);
  });

  it('frees the row within one step when the client aborts mid-answer', async () => {
    let steps = 0;
    const { engine, backend } = createTestEngine(
      {},
      {
        beforeForward: () => {
          steps++;
        },
      },
    );
    const controller = new AbortController();
    const reason = new Error('client gone');
    let stepsAtAbort = 0;
    const rest = (async () => {
      for await (const event of engine.generate(
        testPrompt('x'),
        { ...GREEDY, maxTokens: 400 },
        controller.signal,
      )) {
        if (event.type === 'token' && !controller.signal.aborted) {
          stepsAtAbort = steps;
          controller.abort(reason);
        }
      }
    })();
    await expect(rest).rejects.toBe(reason);
    await settle();
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
    expect(steps - stepsAtAbort).toBeLessThanOrEqual(1);
  });

  it('frees the row when the reader leaves the loop', async () => {
    const { engine, backend } = createTestEngine();
    for await (const event of engine.generate(testPrompt('x'), { ...GREEDY, maxTokens: 400 })) {
      if (event.type === 'token') break;
    }
    await settle();
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, kvUsage: 0 });
  });

  it('takes an aborted request out of the queue without running it', async () => {
    const events: EngineEvent[] = [];
    const { engine } = createTestEngine(
      { onEvent: (event) => events.push(event), clock: createFakeClock() },
      { rowCount: 1 },
    );
    const first = reading(engine.generate(testPrompt('a'), { ...GREEDY, maxTokens: 300 }));
    await first.next();
    const controller = new AbortController();
    const second = collect(engine.generate(testPrompt('b'), GREEDY, controller.signal));
    await settle();
    expect(engine.stats().waiting).toBe(1);
    controller.abort(new Error('changed my mind'));
    await expect(second).rejects.toThrow('changed my mind');
    expect(engine.stats().waiting).toBe(0);
    await first.return();
    await settle();
    expect(events.filter(({ type }) => type === 'sequence-end')).toHaveLength(2);
  });

  it('refuses with queue_full and a time to retry when rows and queue are taken', async () => {
    const { engine } = createTestEngine({ maxWaiting: 2 }, { rowCount: 1 });
    const first = reading(engine.generate(testPrompt('a'), { ...GREEDY, maxTokens: 300 }));
    await first.next();
    const queued = [1, 2].map(() => collect(engine.generate(testPrompt('b'), GREEDY)));
    const refused = collect(engine.generate(testPrompt('c'), GREEDY));
    await expect(refused).rejects.toMatchObject({ code: 'queue_full', status: 429 });
    await refused.catch(({ retryAfterMs }) => expect(retryAfterMs).toBeGreaterThanOrEqual(500));
    await first.return();
    for (const events of await Promise.all(queued)) expect(idsOf(events)).toHaveLength(8);
  });

  it('answers many requests on few rows, first come first served', async () => {
    const { engine, backend } = createTestEngine({}, { rowCount: 3 });
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const events = await collect(engine.generate(testPrompt(`request ${index}`), GREEDY));
        order.push(index);
        expect(idsOf(events)).toHaveLength(8);
      }),
    );
    expect(order).toEqual(order.toSorted((a, b) => a - b));
    await settle();
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
  });

  it('pauses only the sequence whose reader is slow, and keeps its row', async () => {
    const { engine, backend } = createTestEngine();
    const params = { ...SAMPLED, maxTokens: 200 };
    const expected = idsOf(await collect(engine.generate(testPrompt('slow'), params)));
    const slow = reading(engine.generate(testPrompt('slow'), params));
    const seen: GenerateEvent[] = [];
    const first = await slow.next();
    if (first.done !== true) seen.push(first.value);
    await settle();
    const held = engine.stats().running;
    const fast = idsOf(await collect(engine.generate(testPrompt('fast'), params)));
    expect(fast).toHaveLength(200);
    await settle();
    expect([held, engine.stats().running]).toEqual([1, 1]);
    // 32 unread tokens, the prompt and a little more.
    expect(engine.stats().kvUsage * backend.rowCount * backend.rowTokens).toBeLessThan(60);
    for await (const event of slow) seen.push(event);
    expect(idsOf(seen)).toEqual(expected);
  });

  it('names the three numbers when prompt and completion exceed the context', async () => {
    const { engine } = createTestEngine();
    const events = collect(
      engine.generate(testPrompt('x'.repeat(99)), { ...GREEDY, maxTokens: 413 }),
    );
    await expect(events).rejects.toMatchObject({ code: 'context_length_exceeded', status: 400 });
    await events.catch(({ message }) => expect(message).toMatch(/512.*100.*413/));
    const fits = await collect(
      engine.generate(testPrompt('x'.repeat(99)), { ...GREEDY, maxTokens: 412 }),
    );
    expect(lastOf(fits)).toMatchObject({ completionTokens: 412 });
  });

  it('refuses prompts it cannot compute', async () => {
    const { engine } = createTestEngine();
    const bad = [
      { tokens: new Int32Array(0), images: [] },
      { tokens: Int32Array.of(2, 300), images: [] },
      { tokens: Int32Array.of(2, -1), images: [] },
      { tokens: Int32Array.of(2, 8, 8, 8), images: [{ position: 1, image: testImage(1) }] },
    ];
    for (const prompt of bad) {
      await expect(
        collect(engine.generate({ ...testPrompt(), ...prompt }, GREEDY)),
      ).rejects.toMatchObject({
        code: 'invalid_request',
      });
    }
    const textOnly = createTestEngine({}, { config: fakeModelConfig({ hasVision: false }) });
    await expect(collect(textOnly.engine.generate(testPrompt(1), GREEDY))).rejects.toMatchObject({
      code: 'invalid_request',
    });
  });

  it('only computes the prompt when no tokens are asked for', async () => {
    const { engine } = createTestEngine();
    const prompt = testPrompt('score ', 2, ' this');
    const events = await collect(
      engine.generate(prompt, { ...GREEDY, maxTokens: 0, promptLogprobs: 2 }),
    );
    expect(events.map(({ type }) => type)).toEqual(['prefill-end', 'finish']);
    const [first] = events;
    const report = first?.type === 'prefill-end' ? first.promptLogprobs : null;
    expect(report).toHaveLength(prompt.tokens.length);
    const missing = report?.flatMap((entry, at) => (entry === null ? [at] : []));
    // The first token and the image's soft tokens are never predicted.
    expect(missing).toEqual([0, 8, 9, 10, 11]);
    for (const entry of report ?? []) expect(entry === null || entry.top.length === 2).toBe(true);
  });

  it('scores prompt tokens exactly as it scored them when it generated them', async () => {
    const { engine } = createTestEngine();
    const prompt = testPrompt('once upon a time there was a fake '.repeat(2));
    const generated = await collect(
      engine.generate(prompt, { ...SAMPLED, maxTokens: 40, logprobs: 3 }),
    );
    const tokens = Int32Array.from([...prompt.tokens, ...idsOf(generated)]);
    const scored = await collect(
      engine.generate(
        { ...prompt, tokens, images: [] },
        { ...GREEDY, maxTokens: 0, promptLogprobs: 3 },
      ),
    );
    const [start] = scored;
    const report = start?.type === 'prefill-end' ? (start.promptLogprobs ?? []) : [];
    const logprobs = generated.flatMap((event) => (event.type === 'token' ? [event.logprobs] : []));
    expect(report.slice(prompt.tokens.length)).toEqual(logprobs);
  });

  it('ends at a stop string split over tokens and computes nothing beyond it', async () => {
    const prompt = testPrompt('stop here');
    const { engine } = createTestEngine();
    const params = { ...SAMPLED, maxTokens: 100, ignoreEos: false };
    const free = await collect(engine.generate(prompt, params));
    const bytes = free.flatMap((event) => (event.type === 'token' ? [...event.bytes] : []));
    const stop = Uint8Array.from(bytes.slice(5, 8));
    const stopped = await collect(engine.generate(prompt, { ...params, stop: [stop] }));
    expect(textOf(stopped)).toEqual(bytes.slice(0, 5));
    expect(lastOf(stopped)).toMatchObject({ reason: 'stop', stopIndex: 0, stopId: null });
    expect(idsOf(stopped)).toEqual(idsOf(free).slice(0, idsOf(stopped).length));
    // The last token is the one that brought the last byte of the stop string.
    expect(idsOf(stopped).at(-1)).toBe((stop[2] ?? 0) + FIRST_BYTE_ID);
  });

  it('ends at stop ids and at the model own end, which add no text', async () => {
    const { engine } = createTestEngine();
    const prompt = testPrompt('end');
    const ids = idsOf(await collect(engine.generate(prompt, SAMPLED)));
    const stopped = await collect(engine.generate(prompt, { ...SAMPLED, stopIds: [ids[4] ?? 0] }));
    const at = ids.indexOf(ids[4] ?? 0);
    expect(lastOf(stopped)).toMatchObject({
      reason: 'stop',
      stopId: ids[4],
      completionTokens: at + 1,
    });
    expect(stopped.at(-2)).toMatchObject({ type: 'token', id: ids[4], bytes: new Uint8Array(0) });

    const forced = { ...GREEDY, logitBias: new Map([[5, 100]]) };
    const ended = await collect(engine.generate(prompt, { ...forced, ignoreEos: false }));
    expect(lastOf(ended)).toMatchObject({ reason: 'stop', stopId: 5, completionTokens: 1 });
    const kept = await collect(engine.generate(prompt, { ...forced, ignoreEos: true }));
    expect(lastOf(kept)).toMatchObject({ reason: 'length', completionTokens: 8 });
  });

  it('keeps what ended it in the text when asked to', async () => {
    const { engine } = createTestEngine();
    const prompt = testPrompt('with its end');
    const free = await collect(engine.generate(prompt, SAMPLED));
    const text = textOf(free);
    const stop = { ...SAMPLED, stop: [Uint8Array.from(text.slice(3, 5))], includesStop: true };
    const stopped = await collect(engine.generate(prompt, stop));
    expect(textOf(stopped)).toEqual(text.slice(0, 5));
    expect(lastOf(stopped)).toMatchObject({ reason: 'stop', stopIndex: 0 });

    const ids = idsOf(free);
    const byId = { ...SAMPLED, stopIds: [ids[4] ?? 0], includesStop: true };
    const ended = await collect(engine.generate(prompt, byId));
    expect(textOf(ended)).toEqual(text.slice(0, ids.indexOf(ids[4] ?? 0) + 1));
  });

  it('lets nothing end it before the least number of tokens', async () => {
    const { engine } = createTestEngine();
    const prompt = testPrompt('not so soon');
    const forced = { ...GREEDY, logitBias: new Map([[5, 100]]), ignoreEos: false, maxTokens: 20 };
    for (const minTokens of [0, 1, 7]) {
      const events = await collect(engine.generate(prompt, { ...forced, minTokens }));
      expect(lastOf(events)).toMatchObject({ stopId: 5, completionTokens: minTokens + 1 });
    }
    const text = textOf(await collect(engine.generate(prompt, SAMPLED)));
    const stop = [Uint8Array.of(text[2] ?? 0)];
    const later = await collect(engine.generate(prompt, { ...SAMPLED, stop, minTokens: 3 }));
    expect(textOf(later).slice(0, 3)).toEqual(text.slice(0, 3));
  });

  it('says only what is allowed, and refuses when that is nothing', async () => {
    const { engine } = createTestEngine();
    const prompt = testPrompt('a or b');
    const params = { ...SAMPLED, temperature: 2, maxTokens: 60 };
    const ids = idsOf(await collect(engine.generate(prompt, { ...params, allowedIds: [97, 99] })));
    expect([...new Set(ids)].toSorted((a, b) => a - b)).toEqual([97, 99]);
    const nothing = collect(engine.generate(prompt, { ...params, allowedIds: [2] }));
    await expect(nothing).rejects.toMatchObject({ status: 400, param: 'allowed_token_ids' });
  });
});
