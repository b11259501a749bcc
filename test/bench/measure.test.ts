import { describe, expect, it } from 'vitest';
import type { BenchEngine } from '../../infra/bench/bench-engine.ts';
import { collectLogits, measure } from '../../infra/bench/measure.ts';

/** Takes 2 ms a prefill token and 10 ms plus a hundredth of the length a decoded one, on its own clock. */
function clockworkEngine() {
  let time = 0;
  let length = 0;
  const calls: { length: number; tokens: number[] }[] = [];
  const engine: BenchEngine = {
    label: 'clockwork',
    extend: (tokens) => {
      calls.push({ length, tokens: [...tokens] });
      time += tokens.length === 1 ? 10 + length / 100 : 2 * tokens.length;
      length += tokens.length;
      return Promise.resolve();
    },
    logits: () => Promise.resolve(Float32Array.of(length)),
    reset: () => {
      length = 0;
    },
    close: () => Promise.resolve(),
  };
  return { engine, calls, now: () => time };
}

const plan = {
  vocabSize: 5000,
  prefillTokens: 50,
  prefillRepeats: 3,
  decodeContexts: [20, 100],
  decodeTokens: 5,
};

describe('measure', () => {
  it('reports prefill speed and the median decode time at each context', async () => {
    const { engine, now } = clockworkEngine();
    const measured = await measure(engine, plan, now);
    expect(measured.prefillTokensPerSecond).toEqual([500, 500, 500]);
    expect(measured.decodeMs.map((point) => point.context)).toEqual([20, 100]);
    // The third of five tokens: 22 and 102 tokens are held before it.
    expect(measured.decodeMs[0]?.ms).toBeCloseTo(10.22, 9);
    expect(measured.decodeMs[1]?.ms).toBeCloseTo(11.02, 9);
  });

  it('prefills from empty each time and asks for ids of ordinary tokens only', async () => {
    const { engine, calls, now } = clockworkEngine();
    await measure(engine, plan, now);
    expect(calls.filter((call) => call.tokens.length === 50).map((call) => call.length)).toEqual([
      50 + 1 - 1 - 50,
      0,
      0,
      0,
    ]);
    const ids = calls.flatMap((call) => call.tokens);
    expect(Math.min(...ids)).toBeGreaterThanOrEqual(512);
    expect(Math.max(...ids)).toBeLessThan(5000);
  });

  it('gives every engine the same ids', async () => {
    const [one, two] = [clockworkEngine(), clockworkEngine()];
    await measure(one.engine, plan, one.now);
    await measure(two.engine, plan, two.now);
    expect(one.calls).toEqual(two.calls);
  });
});

describe('collectLogits', () => {
  it('runs every prompt from empty', async () => {
    const { engine } = clockworkEngine();
    expect(await collectLogits(engine, [20, 7], 5000)).toEqual([
      Float32Array.of(20),
      Float32Array.of(7),
    ]);
  });
});
