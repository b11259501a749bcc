import { describe, expect, it } from 'vitest';
import { createLogprobReader } from '../../src/engine/logprobs.ts';
import { forSeeds } from '../support/seeded-random.ts';

describe('log probabilities', () => {
  it('agrees with the softmax written out and with a full sort', async () => {
    const reader = createLogprobReader(20);
    await forSeeds(500, (random) => {
      const size = random.pick([3, 40, 500]);
      const logits = Float32Array.from({ length: size }, () =>
        random.chance(0.3) ? random.integer(-3, 3) : random.next() * 40 - 20,
      );
      const id = random.integer(0, size - 1);
      const topCount = random.integer(0, 20);
      const { logprob, top } = reader.read(logits, id, topCount);
      const most = Math.max(...logits);
      const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0);
      const exact = (at: number): number => (logits[at] ?? 0) - most - Math.log(sum);
      expect(logprob).toBeCloseTo(exact(id), 10);
      const order = Array.from(logits.keys()).toSorted(
        (a, b) => (logits[b] ?? 0) - (logits[a] ?? 0) || a - b,
      );
      expect(top.map((entry) => entry.id)).toEqual(order.slice(0, topCount));
      for (const entry of top) expect(entry.logprob).toBeCloseTo(exact(entry.id), 10);
      // Harnesses tell greedy tokens by comparing floats.
      const same = top.find((entry) => entry.id === id);
      if (same !== undefined) expect(Object.is(same.logprob, logprob)).toBe(true);
    });
  });

  it('holds where exp alone would overflow', () => {
    const { logprob } = createLogprobReader(1).read(Float32Array.from([1000, 999, -1000]), 0, 1);
    expect(logprob).toBeCloseTo(-Math.log(1 + Math.exp(-1)), 12);
  });

  it('reports broken logits as an error', () => {
    const reader = createLogprobReader(1);
    for (const broken of [
      [Number.NaN, 1],
      [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
    ]) {
      expect(() => reader.read(Float32Array.from(broken), 0, 1)).toThrow(
        expect.objectContaining({ code: 'internal' }),
      );
    }
  });
});
