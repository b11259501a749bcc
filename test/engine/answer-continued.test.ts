import { expect, it } from 'vitest';
import type { GenerateEvent, PreparedPrompt, SamplingParams } from '../../src/engine/engine.ts';
import { collect, createTestEngine, GREEDY, idsOf, testPrompt } from '../support/engine-harness.ts';
import { forSeeds, type SeededRandom } from '../support/seeded-random.ts';

function randomParams(random: SeededRandom): SamplingParams {
  const letter = (): Uint8Array => Uint8Array.of(random.integer(97, 122));
  return {
    ...GREEDY,
    maxTokens: random.integer(1, 40),
    temperature: random.chance(0.3) ? 0 : 1,
    seed: random.integer(0, 1_000_000),
    presencePenalty: random.chance(0.5) ? 1.5 : 0,
    repetitionPenalty: random.chance(0.5) ? 1.2 : 1,
    stop: random.chance(0.5) ? [letter(), Uint8Array.of(...letter(), ...letter())] : [],
    ignoreEos: random.chance(0.5),
    minTokens: random.pick([0, 0, 1]),
    allowedIds: random.pick([null, null, Array.from({ length: 40 }, (_, at) => at + 90)]),
    includesStop: random.chance(0.5),
    logprobs: random.chance(0.3) ? 2 : null,
  };
}

/** Events after the first `count` tokens, without how long they took. */
function after(events: readonly GenerateEvent[], count: number): unknown[] {
  let seen = 0;
  return events.flatMap((event): unknown[] => {
    if (event.type === 'prefill-end') return [];
    if (event.type === 'token') return seen++ < count ? [] : [event];
    const { timings: _timings, cachedTokens: _cachedTokens, ...rest } = event;
    return [rest];
  });
}

it('an answer goes on in another engine exactly as it would have, from any of its tokens', async () => {
  let cases = 0;
  await forSeeds(40, async (random) => {
    const prompt: PreparedPrompt = testPrompt('Tell me ', random.integer(1, 9), ' of this');
    const params = randomParams(random);
    const whole = await collect(createTestEngine().engine.generate(prompt, params));
    const ids = idsOf(whole);
    for (const count of new Set([0, 1, random.integer(0, ids.length), ids.length])) {
      const { engine } = createTestEngine({}, { rowCount: random.integer(1, 3) });
      // Somebody else's prompt may lie in the row.
      if (random.chance(0.5)) await collect(engine.generate(testPrompt('Other'), GREEDY));
      const answer = Int32Array.from(ids.slice(0, count));
      const rest = await collect(engine.generate({ ...prompt, answer }, params));
      expect(after(rest, 0)).toEqual(after(whole, count));
      cases++;
    }
  });
  expect(cases).toBeGreaterThan(100);
});

it('an answer that is over, too long or none of the model is refused', async () => {
  const { engine } = createTestEngine();
  const prompt = testPrompt('Hello');
  const go = async (answer: number[], params: Partial<SamplingParams> = {}): Promise<unknown> =>
    collect(
      engine.generate({ ...prompt, answer: Int32Array.from(answer) }, { ...GREEDY, ...params }),
    );
  await expect(go([20, 21, 22], { maxTokens: 2 })).rejects.toThrow('more than the 2 asked for');
  await expect(go([20, 3000])).rejects.toThrow('ids are 0 to 299');
  await expect(go([20, 5, 21], { ignoreEos: false })).rejects.toThrow('over before its end');
  expect(engine.stats().running + engine.stats().waiting).toBe(0);
});
