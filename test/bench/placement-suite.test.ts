import { beforeAll, describe, expect, it } from 'vitest';
import { createEventLine } from '../../infra/bench/event-line.ts';
import { comparePlacements, formatPlacements } from '../../infra/bench/placement-suite.ts';
import type { PlacementResult } from '../../infra/bench/placement-simulation.ts';
import { createSeededRandom } from '../support/seeded-random.ts';

const OPTIONS = { seed: 'small', sessions: 600, replicas: 12, seconds: 600 };
const SHAPE = {
  slots: 8,
  cacheTokens: 98_304,
  prefillTokensPerSecond: 2_000,
  decodeTokensPerSecond: 40,
};

describe('placement in a simulated fleet that grows, shrinks and crashes', () => {
  let results: readonly PlacementResult[] = [];
  const of = (policy: string): PlacementResult => {
    const result = results.find((one) => one.policy === policy);
    if (result === undefined) throw new Error(`there is no ${policy}`);
    return result;
  };
  beforeAll(() => {
    results = [...comparePlacements(OPTIONS, SHAPE)];
  });

  it('runs all turns by each policy', () => {
    expect(new Set(results.map(({ turns }) => turns)).size).toBe(1);
    expect(of('gemlet').turns).toBeGreaterThan(OPTIONS.sessions * 5);
    expect(of('gemlet').failedAttempts).toBeGreaterThan(0);
  });

  it('moves the fewest conversations and hits the most', () => {
    const ours = of('gemlet');
    for (const other of results) {
      if (other === ours) continue;
      expect(ours.moves).toBeLessThan(other.moves / 3);
      expect(ours.hitRate).toBeGreaterThan(other.hitRate + 0.05);
      expect(ours.computedTokens).toBeLessThan(other.computedTokens);
    }
    expect(of('hash modulo').moves).toBeLessThan(of('round robin').moves);
    expect(ours.hitRate).toBeGreaterThan(0.8);
  });

  it('keeps the load bounded: nobody waits where hashing alone would make them', () => {
    expect(of('gemlet').mostRequests).toBeLessThanOrEqual(SHAPE.slots * 1.5);
    expect(of('gemlet').mostRequests).toBeLessThan(of('hash modulo').mostRequests);
  });

  it('gives the same results for the same seed', () => {
    const again = [...comparePlacements(OPTIONS, SHAPE)];
    expect(again.map((one) => ({ ...one, placeUs: 0 }))).toEqual(
      results.map((one) => ({ ...one, placeUs: 0 })),
    );
  });

  it('is printed as a table', () => {
    const lines = formatPlacements(results).split('\n');
    expect(lines).toHaveLength(6);
    expect(new Set(lines.map((line) => line.split('|').length)).size).toBe(1);
  });
});

describe('the event line', () => {
  it('runs what is planned in order of time, then of planning, also what is planned meanwhile', () => {
    const line = createEventLine();
    const random = createSeededRandom(7);
    const seen: { readonly atMs: number; readonly order: number }[] = [];
    let order = 0;
    const plan = (atMs: number, depth: number): void => {
      const mine = order++;
      line.at(atMs, () => {
        expect(line.now()).toBe(atMs);
        seen.push({ atMs, order: mine });
        if (depth > 0) plan(atMs + random.integer(0, 5), depth - 1);
      });
    };
    for (let at = 0; at < 500; at++) plan(random.integer(0, 100), 3);
    line.run();
    expect(seen).toHaveLength(2_000);
    expect(seen).toEqual(seen.toSorted((a, b) => a.atMs - b.atMs || a.order - b.order));
  });
});
