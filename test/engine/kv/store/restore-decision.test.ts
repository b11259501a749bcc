import { describe, expect, it } from 'vitest';
import {
  breakEvenTokens,
  createFetchMeter,
  decideRestore,
  restoreBytes,
} from '../../../../src/engine/kv/store/restore-decision.ts';
import { forSeeds } from '../../../support/seeded-random.ts';

describe('restore decision', () => {
  it('takes the faster way, and restores where it cannot know', () => {
    const cost = { tokens: 1000, bytes: 1e6, latencyMs: 10, bytesPerSecond: 1e6 };
    expect(decideRestore({ ...cost, tokensPerSecond: 100 })).toEqual({
      choice: 'restore',
      restoreMs: 1010,
      recomputeMs: 10_000,
    });
    expect(decideRestore({ ...cost, tokensPerSecond: 1000 }).choice).toBe('recompute');
    expect(decideRestore({ ...cost, tokensPerSecond: null }).choice).toBe('restore');
    const unknown = { ...cost, bytesPerSecond: null, tokensPerSecond: 1000 };
    expect(decideRestore(unknown)).toMatchObject({ choice: 'restore', restoreMs: null });
  });

  it('breaks even exactly where restoring stops being slower', async () => {
    const met = { never: 0, within: 0, behind: 0 };
    await forSeeds(400, (random) => {
      const kvTokenBytes = { global: random.integer(1, 100), local: random.integer(0, 500) };
      const shape = { kvTokenBytes, windowTokens: random.integer(1, 60) };
      const rates = {
        latencyMs: random.integer(0, 50),
        bytesPerSecond: random.integer(1000, 400_000),
        tokensPerSecond: random.integer(100, 2000),
      };
      const isWorthIt = (tokens: number): boolean => {
        const bytes = restoreBytes(shape, 0, tokens);
        const { restoreMs, recomputeMs } = decideRestore({ ...rates, tokens, bytes });
        return (restoreMs ?? 0) <= (recomputeMs ?? 0) + 1e-6;
      };
      const found = breakEvenTokens(shape, rates);
      if (found === null) {
        met.never++;
        expect(isWorthIt(1_000_000)).toBe(false);
        return;
      }
      met[found < shape.windowTokens ? 'within' : 'behind']++;
      expect(isWorthIt(found + 1)).toBe(true);
      if (found > 1) expect(isWorthIt(found - 1)).toBe(false);
    });
    expect(Math.min(...Object.values(met))).toBeGreaterThan(20);
  });

  it('learns bandwidth from fetches, without what latency took', () => {
    const meter = createFetchMeter();
    expect(meter.bytesPerSecond).toBeNull();
    meter.answered(100);
    meter.fetched(1000, 1100);
    expect(meter).toMatchObject({ latencyMs: 100, bytesPerSecond: 1000 });
    meter.fetched(0, 5000);
    expect(meter.bytesPerSecond).toBe(1000);
    for (let left = 50; left > 0; left--) meter.fetched(4000, 2100);
    expect(meter.bytesPerSecond).toBeGreaterThan(1990);
  });
});
