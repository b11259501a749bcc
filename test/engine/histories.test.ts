import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { PreparedPrompt, SamplingParams } from '../../src/engine/engine.ts';
import { collect, createTestEngine, GREEDY, idsOf, testImage } from '../support/engine-harness.ts';
import type { TestEngine } from '../support/engine-harness.ts';
import { forSeeds } from '../support/seeded-random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';

const CONFIG = fakeModelConfig({ vocabSize: 70, windowTokens: 7, maxPositions: 160 });

function randomPrompt(random: SeededRandom): PreparedPrompt {
  const tokens = [2];
  const images = [];
  for (let part = random.integer(1, 3); part > 0; part--) {
    for (let count = random.integer(0, 24); count > 0; count--) tokens.push(random.integer(9, 64));
    if (random.chance(0.3)) {
      images.push({ position: tokens.length, image: testImage(random.integer(0, 3)) });
      tokens.push(8, 8, 8, 8);
    }
  }
  return { tokens: Int32Array.from(tokens), images, assistantSpans: [], scope: '' };
}

function randomParams(random: SeededRandom): SamplingParams {
  return {
    ...GREEDY,
    maxTokens: random.integer(0, 30),
    temperature: random.pick([0, 0.7, 1.3]),
    topK: random.pick([0, 5, 20]),
    topP: random.pick([1, 0.8]),
    seed: random.integer(0, 2 ** 32 - 1),
    repetitionPenalty: random.pick([1, 1.2]),
    frequencyPenalty: random.pick([0, 0.5]),
    ignoreEos: random.chance(0.3),
    minTokens: random.pick([0, 0, 0, 8]),
    allowedIds: random.pick([null, null, Array.from({ length: 40 }, (_, at) => at + 9)]),
    includesStop: random.chance(0.3),
    stop: random.chance(0.3) ? [Uint8Array.of(random.integer(0, 55))] : [],
    logprobs: random.pick([null, null, 2]),
    promptLogprobs: random.pick([null, null, null, 1]),
  };
}

/** Everything a client can see of an answer but what it cost. */
function visible(events: readonly object[]): string {
  return JSON.stringify(events, (key, value: unknown) =>
    key === 'timings' || key === 'cachedTokens' ? undefined : value,
  );
}

/** One turn: reads to the end, aborts, leaves the loop or reads with pauses. */
async function turn(
  random: SeededRandom,
  { engine }: TestEngine,
  prompt: PreparedPrompt,
  params: SamplingParams,
): Promise<{ readonly seen: string; readonly isWhole: boolean }> {
  const leaveAfter = random.chance(0.35) ? random.integer(0, 20) : Number.POSITIVE_INFINITY;
  const byAbort = random.chance(0.5);
  const isSlow = random.chance(0.3);
  const controller = new AbortController();
  const events: object[] = [];
  if (byAbort && leaveAfter === 0) controller.abort(new Error('left'));
  try {
    for await (const event of engine.generate(prompt, params, controller.signal)) {
      events.push(event);
      if (events.length >= leaveAfter) {
        if (!byAbort) break;
        controller.abort(new Error('left'));
      }
      if (isSlow) for (let wait = random.integer(0, 12); wait > 0; wait--) await Promise.resolve();
    }
  } catch (error) {
    if (!(error instanceof Error) || error.message !== 'left') throw error;
  }
  return { seen: visible(events), isWhole: events.length < leaveAfter };
}

/** The loop frees the last rows a moment after the last reader is gone. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('random histories', { timeout: 180_000 }, () => {
  it('give every answer the text it has alone and every row back', async () => {
    const alone = createTestEngine(
      {},
      { config: CONFIG, rowCount: 1, chunkTokens: 64, alignTokens: 4 },
    );
    // Each of its scopes is used once, so that it never reuses anything.
    let aloneCalls = 0;
    await forSeeds(700, async (random) => {
      const shared = createTestEngine(
        {},
        {
          config: CONFIG,
          rowCount: random.integer(1, 4),
          chunkTokens: random.integer(3, 40),
          alignTokens: random.pick([4, 16]),
        },
      );
      const clients = Array.from({ length: random.integer(1, 5) }, async () => {
        let prompt = randomPrompt(random);
        for (let turns = random.integer(1, 3); turns > 0; turns--) {
          const params = randomParams(random);
          if (prompt.tokens.length + params.maxTokens > 160) return;
          const { seen, isWhole } = await turn(random, shared, prompt, params);
          const scope = `alone ${aloneCalls++}`;
          const expected = await collect(alone.engine.generate({ ...prompt, scope }, params));
          if (isWhole) expect(seen).toBe(visible(expected));
          else expect(visible(expected).startsWith(seen.slice(0, -1))).toBe(true);
          const next = [...prompt.tokens, ...idsOf(expected), ...randomPrompt(random).tokens];
          prompt = { ...prompt, tokens: Int32Array.from(next) };
        }
      });
      await Promise.all(clients);
      await settle();
      expect(shared.backend.rowsInUse()).toBe(shared.engine.stats().warmRows);
      expect(shared.engine.stats()).toMatchObject({ running: 0, waiting: 0, kvUsage: 0 });
    });
  });

  it('survive steps and images that fail: only their own answers end, every row comes back', async () => {
    await forSeeds(200, async (random) => {
      let failures = 0;
      const maybeFail = (): void => {
        if (!random.chance(0.05)) return;
        failures++;
        throw new Error('injected');
      };
      const faulty = createTestEngine(
        {},
        {
          config: CONFIG,
          rowCount: 3,
          chunkTokens: 16,
          alignTokens: 4,
          beforeForward: maybeFail,
          beforeEncode: maybeFail,
        },
      );
      const clean = createTestEngine({}, { config: CONFIG, chunkTokens: 16, alignTokens: 4 });
      let failed = 0;
      const clients = Array.from({ length: 8 }, async () => {
        const prompt = randomPrompt(random);
        const params = randomParams(random);
        const expected = visible(await collect(clean.engine.generate(prompt, params)));
        try {
          expect(visible(await collect(faulty.engine.generate(prompt, params)))).toBe(expected);
        } catch (error) {
          expect(error).toMatchObject({ code: 'internal', cause: { message: 'injected' } });
          failed++;
        }
      });
      await Promise.all(clients);
      if (failures === 0) expect(failed).toBe(0);
      await settle();
      expect(faulty.backend.rowsInUse()).toBe(faulty.engine.stats().warmRows);
    });
  });
});
