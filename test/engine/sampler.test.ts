import { describe, expect, it } from 'vitest';
import type { SamplingParams } from '../../src/engine/engine.ts';
import { createSampler } from '../../src/engine/sampler.ts';
import type { TokenHistory } from '../../src/engine/sampler.ts';
import { GREEDY } from '../support/engine-harness.ts';
import { keptByOracle, sampleByOracle } from '../support/sampling-oracle.ts';
import { createSeededRandom, forSeeds } from '../support/seeded-random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';

const NOTHING: TokenHistory = { prompt: new Int32Array(0), output: new Map(), ends: new Set() };
const PLAIN: SamplingParams = { ...GREEDY, temperature: 1 };

/** Bell-shaped logits; a coarse grid makes many exact ties. */
function randomLogits(random: SeededRandom, size: number, grid: number): Float32Array {
  return Float32Array.from({ length: size }, () => {
    const bell = random.next() + random.next() + random.next() - 1.5;
    return grid === 0 ? bell * 12 : Math.round(bell * grid) / 2;
  });
}

/** Logits such as models give, and such as they should not. */
function shapedLogits(random: SeededRandom, size: number): Float32Array {
  const shape = random.pick(['peaked', 'one', 'flat', 'equal', 'ties', 'banned', 'wide']);
  return Float32Array.from({ length: size }, (_, id) => {
    const bell = random.next() + random.next() + random.next() - 1.5;
    if (shape === 'peaked') return random.chance(0.01) ? 15 + bell * 10 : bell * 6;
    if (shape === 'one') return id === size >> 1 ? 200 : bell;
    if (shape === 'flat') return bell / 1000;
    if (shape === 'equal') return -7.25;
    if (shape === 'ties') return Math.round(bell * 3);
    if (shape === 'banned') return random.chance(0.95) ? Number.NEGATIVE_INFINITY : bell * 6;
    return bell * 1e30 * random.next() ** 20;
  });
}

function randomParams(random: SeededRandom, size: number): SamplingParams {
  const some = <T>(value: T, off: T): T => (random.chance(0.5) ? value : off);
  return {
    ...PLAIN,
    seed: random.integer(0, 2 ** 32 - 1),
    temperature: random.pick([0, 0.01, 0.3, 1, 2]),
    topK: some(random.integer(1, Math.ceil(size * 1.2)), 0),
    topP: some(random.next(), 1),
    minP: some(random.next() * 0.3, 0),
    repetitionPenalty: some(0.5 + random.next(), 1),
    presencePenalty: some(random.next() * 4 - 2, 0),
    frequencyPenalty: some(random.next() * 4 - 2, 0),
    minTokens: random.pick([0, 0, 500]),
    allowedIds: random.chance(0.7)
      ? null
      : [size - 3, ...Array.from({ length: 6 }, () => random.integer(0, size - 1))],
    logitBias: new Map(
      Array.from({ length: random.integer(0, 4) }, () => [
        random.integer(0, size - 4),
        random.pick([-100, -3, 2, 100]),
      ]),
    ),
  };
}

function randomHistory(random: SeededRandom, size: number): TokenHistory {
  const ids = (): number[] =>
    Array.from({ length: random.integer(0, 6) }, () => random.integer(0, size - 1));
  return {
    prompt: Int32Array.from(new Set(ids())).toSorted(),
    output: new Map(ids().map((id) => [id, random.integer(1, 4)])),
    ends: new Set(ids().map((id) => id % (size - 4))),
  };
}

describe('sampler', () => {
  it('agrees with full sorts over all parameters, ties included', async () => {
    await forSeeds(2500, (random) => {
      const size = random.pick([8, 60, 300]);
      const logits = randomLogits(random, size, random.pick([0, 6, 1]));
      const params = randomParams(random, size);
      const history = randomHistory(random, size);
      const suppressed = [size - 1, size - 2];
      const sampler = createSampler({ vocabSize: size, suppressed });
      const index = random.integer(0, 1000);
      expect(sampler.sample(logits, params, history, index)).toBe(
        sampleByOracle(logits, params, history, suppressed, index),
      );
    });
  });

  it('agrees with full sorts where top-k is beyond the heap', async () => {
    await forSeeds(25, (random) => {
      const size = 4000;
      const sampler = createSampler({ vocabSize: size, suppressed: [0] });
      const logits = randomLogits(random, size, random.pick([0, 6, 1]));
      for (const topK of [0, 1500, 3999, 9000]) {
        for (const topP of [1, 0.999, 0.9, 0.3]) {
          const params = { ...PLAIN, topK, topP, temperature: 3, minP: random.pick([0, 0.001]) };
          expect(sampler.sample(logits, params, NOTHING, 7)).toBe(
            sampleByOracle(logits, params, NOTHING, [0], 7),
          );
        }
      }
    });
  });

  it('agrees with full sorts on every shape of logits, whatever the filter', async () => {
    await forSeeds(200, (random) => {
      const size = random.pick([300, 1500, 5000]);
      const logits = shapedLogits(random, size);
      const sampler = createSampler({ vocabSize: size, suppressed: [1, size - 1] });
      const topK = random.pick([0, 0, 0, 1025, 2000, size - 3, size]);
      const params = {
        ...PLAIN,
        topK,
        temperature: random.pick([1e-9, 0.001, 0.7, 1, 2, 50]),
        topP: random.pick([1, 0.999_999, 0.95, 0.5, 0.01, 0]),
        minP: random.pick([0, 0, 1e-40, 0.01, 0.5, 1]),
      };
      for (let index = 0; index < 4; index++) {
        const history = randomHistory(random, size);
        params.repetitionPenalty = random.pick([1, 1.2]);
        expect(sampler.sample(logits, params, history, index)).toBe(
          sampleByOracle(logits, params, history, [1, size - 1], index),
        );
      }
    });
  });

  it('decides what is too close for rough weights with exact ones', () => {
    // Sums and targets that are equal to the last bit, or differ in the last.
    const equal = new Float32Array(1000).fill(3);
    const sampler = createSampler({ vocabSize: 1000, suppressed: [] });
    const barely = Float32Array.from(equal, (logit, id) => (id < 500 ? logit : logit - 1e-6));
    for (const logits of [equal, barely]) {
      for (const topP of [0.001, 0.25, 0.5, 0.75, 0.999, 1 - 1e-9, 1 - 1e-15]) {
        for (let index = 0; index < 20; index++) {
          const params = { ...PLAIN, topP };
          expect(sampler.sample(logits, params, NOTHING, index)).toBe(
            sampleByOracle(logits, params, NOTHING, [], index),
          );
        }
      }
    }
  });

  it('draws each kept token as often as its probability says, and no other', () => {
    const random = createSeededRandom(42);
    const logits = randomLogits(random, 50, 0);
    const draws = 20_000;
    for (const filters of [
      { topK: 12, topP: 0.9, minP: 0 },
      { topK: 0, topP: 0.8, minP: 0 },
      { topK: 0, topP: 1, minP: 0.05 },
      { topK: 0, topP: 1, minP: 0 },
    ]) {
      const params = { ...PLAIN, ...filters, temperature: 1.5, seed: 11 };
      const kept = keptByOracle(logits, params, NOTHING, []);
      const total = kept.reduce((sum, { weight }) => sum + weight, 0);
      const counts = new Map<number, number>();
      const sampler = createSampler({ vocabSize: 50, suppressed: [] });
      for (let index = 0; index < draws; index++) {
        const id = sampler.sample(logits, params, NOTHING, index);
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      const keptIds = new Set(kept.map(({ id }) => id));
      expect([...counts.keys()].filter((id) => !keptIds.has(id))).toEqual([]);
      let chiSquare = 0;
      let degrees = -1;
      for (const { id, weight } of kept) {
        const expected = (draws * weight) / total;
        if (expected < 5) continue;
        chiSquare += ((counts.get(id) ?? 0) - expected) ** 2 / expected;
        degrees++;
      }
      // Mean is `degrees`, standard deviation sqrt(2 degrees): four of them is far out.
      expect(chiSquare).toBeLessThan(degrees + 4 * Math.sqrt(2 * degrees));
    }
  });

  it('keeps the smallest set that reaches top-p after top-k, as the reference does', () => {
    // Probabilities 0.5, 0.25, 0.125, 0.125.
    const logits = Float32Array.from([8, 4, 2, 2].map(Math.log2).map((x) => x * Math.LN2));
    const kept = (params: Partial<SamplingParams>): number[] => {
      const sampler = createSampler({ vocabSize: 4, suppressed: [] });
      const ids = new Set<number>();
      for (let index = 0; index < 300; index++) {
        ids.add(sampler.sample(logits, { ...PLAIN, ...params }, NOTHING, index));
      }
      return [...ids].toSorted((a, b) => a - b);
    };
    expect(kept({ topP: 0.7 })).toEqual([0, 1]);
    expect(kept({ topP: 0.8 })).toEqual([0, 1, 2]);
    expect(kept({ topP: 0.6, topK: 2 })).toEqual([0]);
    expect(kept({ topP: 0 })).toEqual([0]);
    expect(kept({ minP: 0.4 })).toEqual([0, 1]);
    expect(kept({ topK: 3 })).toEqual([0, 1, 2]);
  });

  it('never chooses suppressed or banned ids and always a forced one', () => {
    const sampler = createSampler({ vocabSize: 4, suppressed: [0] });
    const logits = Float32Array.from([50, 40, 0, -60]);
    expect(sampler.sample(logits, GREEDY, NOTHING, 0)).toBe(1);
    expect(sampler.sample(logits, { ...GREEDY, logitBias: new Map([[1, -100]]) }, NOTHING, 0)).toBe(
      2,
    );
    expect(sampler.sample(logits, { ...GREEDY, logitBias: new Map([[3, 101]]) }, NOTHING, 0)).toBe(
      3,
    );
  });

  it('leaves the logits as they are', () => {
    const logits = randomLogits(createSeededRandom(1), 60, 0);
    const before = Float32Array.from(logits);
    const history: TokenHistory = {
      prompt: Int32Array.of(1),
      output: new Map([[2, 2]]),
      ends: new Set(),
    };
    const sampler = createSampler({ vocabSize: 60, suppressed: [3] });
    sampler.sample(logits, { ...PLAIN, repetitionPenalty: 1.3, presencePenalty: 1 }, history, 0);
    expect(logits).toEqual(before);
  });

  it('reports broken logits as an error instead of choosing or hanging', () => {
    const sampler = createSampler({ vocabSize: 4, suppressed: [] });
    for (const broken of [
      [1, Number.NaN, 0, 0],
      [Number.NaN, Number.NaN, Number.NaN, Number.NaN],
      Array.from({ length: 4 }, () => Number.NEGATIVE_INFINITY),
      [0, Number.POSITIVE_INFINITY, 0, 0],
    ]) {
      for (const params of [GREEDY, PLAIN, { ...PLAIN, topK: 2 }, { ...PLAIN, topP: 0.5 }]) {
        expect(() => sampler.sample(Float32Array.from(broken), params, NOTHING, 0)).toThrow(
          expect.objectContaining({ code: 'internal' }),
        );
      }
    }
  });
});
