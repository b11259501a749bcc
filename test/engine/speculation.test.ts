import { describe, expect, it } from 'vitest';
import type { SamplingParams } from '../../src/engine/engine.ts';
import { createSpeculation, type Draftable } from '../../src/engine/speculation.ts';
import { collect, createTestEngine, GREEDY, idsOf, testPrompt } from '../support/engine-harness.ts';
import { createSimulatedClock } from '../support/fake-clock.ts';

/** Three ids only, so that what was said comes again soon. */
const FEW_IDS = new Map([
  [70, 90],
  [71, 90],
  [72, 90],
]);

function paramsOf(more: Partial<SamplingParams>): SamplingParams {
  return { ...GREEDY, maxTokens: 120, logitBias: FEW_IDS, ...more };
}

describe('speculation', () => {
  it.each([
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 1, seed: 7 }],
    [
      'with penalties and log probabilities',
      { temperature: 0.7, seed: 3, logprobs: 2, repetitionPenalty: 1.2, presencePenalty: 0.4 },
    ],
    ['stopped inside a draft', { temperature: 0, stopIds: [70] }],
    ['cut by its length', { temperature: 0, maxTokens: 37 }],
    ['from some tokens only', { temperature: 1, seed: 5, allowedIds: [97, 98, 99, 100] }],
    [
      'with a least number of tokens, past stop ids',
      { temperature: 0, stopIds: [70], minTokens: 50, includesStop: true },
    ],
  ])('says exactly what is said without it: %s', async (_, more) => {
    const params = paramsOf(more);
    const prompt = testPrompt('the same words and the same words and the same words');
    const run = async (speculates: boolean) => {
      const clock = createSimulatedClock();
      const { engine } = createTestEngine(
        { clock, speculates },
        { beforeForward: () => clock.sleep(10) },
      );
      const events = await collect(engine.generate(prompt, params));
      const again = await collect(engine.generate(prompt, params));
      const { speculation } = engine.stats().totals;
      await engine.close();
      return { events, again, speculation };
    };
    const [plain, drafted] = [await run(false), await run(true)];
    expect(plain.speculation.drafts).toBe(0);
    expect(idsOf(drafted.events)).toEqual(idsOf(plain.events));
    expect(drafted.events.map(withoutTimes)).toEqual(plain.events.map(withoutTimes));
    // What the row holds afterwards is reused, so it must be right too.
    expect(drafted.again.map(withoutTimes)).toEqual(plain.again.map(withoutTimes));
    if (params.stopIds.length > 0) return;
    expect(drafted.speculation.drafts).toBeGreaterThan(3);
    expect(drafted.speculation.acceptedTokens).toBeGreaterThan(0);
    expect(drafted.speculation.acceptedTokens).toBeLessThan(drafted.speculation.draftTokens);
  });

  it('only guesses for an answer that runs alone', async () => {
    const { engine } = createTestEngine({ speculates: true });
    const params = paramsOf({ temperature: 0 });
    await Promise.all(
      ['one', 'two'].map((text) => collect(engine.generate(testPrompt(text), params))),
    );
    const { drafts } = engine.stats().totals.speculation;
    await engine.close();
    expect(drafts).toBe(0);
  });

  it('leaves off where a check takes longer than it gains, and tries again now and then', () => {
    const speculation = createSpeculation<Draftable>(256);
    const words = Int32Array.from({ length: 1000 }, (_, at) => at % 5);
    const sequence = { words, knownTokens: 500, maxTokensLeft: 100, isSoftToken: () => false };
    const plain = { decode: [sequence], chunk: null, draft: null };
    const taken = (accepted: (tokens: number) => number, ms: number): number => {
      let count = 0;
      for (let chance = 0; chance < 480; chance++) {
        const { draft } = speculation.plan(plain);
        if (draft === null) speculation.observeDecode(10);
        else {
          count++;
          speculation.observeDraft(
            sequence,
            draft.tokens.length,
            accepted(draft.tokens.length),
            ms,
          );
        }
      }
      return count;
    };
    // Every guess is wrong, and a check takes half as long again: a chance in 48 is taken.
    expect(taken(() => 0, 15)).toBeLessThan(30);
    // Every guess is right: as soon as one try has told so, all chances are taken.
    expect(taken((tokens) => tokens, 15)).toBeGreaterThan(300);
    // Right, but a check takes ten times as long.
    expect(taken((tokens) => tokens, 100)).toBeLessThan(60);
  });

  it('never guesses beyond what may be said', () => {
    const speculation = createSpeculation<Draftable>(256);
    speculation.observeDecode(10);
    const words = Int32Array.from({ length: 40 }, (_, at) => at % 4);
    const lengths = [0, 1, 2, 3, 4, 5, 9].map((maxTokensLeft) => {
      const sequence = { words, knownTokens: 30, maxTokensLeft, isSoftToken: () => false };
      const { draft } = speculation.plan({ decode: [sequence], chunk: null, draft: null });
      return draft?.tokens.length ?? 0;
    });
    expect(lengths).toEqual([0, 0, 1, 2, 3, 4, 7]);
  });
});

function withoutTimes(event: object): object {
  return { ...event, timings: undefined, cachedTokens: undefined };
}
