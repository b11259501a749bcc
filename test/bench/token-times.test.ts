import { describe, expect, it } from 'vitest';
import {
  allStartedMs,
  gapsDuring,
  haveTokensAfter,
  rateTogether,
} from '../../infra/bench/token-times.ts';

/** `count` tokens from `fromMs` on, one every `everyMs`. */
function steady(fromMs: number, everyMs: number, count: number): number[] {
  return Array.from({ length: count }, (_, at) => fromMs + at * everyMs);
}

describe('allStartedMs', () => {
  it('is the first token of the last stream to begin, and never while one has none', () => {
    expect(allStartedMs([[10, 20], [15, 25], [12]])).toBe(15);
    expect(allStartedMs([[10, 20], []])).toBe(Infinity);
  });
});

describe('haveTokensAfter', () => {
  it('counts the tokens of the slowest stream, later than the time only', () => {
    const times = [steady(0, 10, 6), steady(0, 10, 4)];
    expect(haveTokensAfter(times, 10, 2)).toBe(true);
    expect(haveTokensAfter(times, 10, 3)).toBe(false);
    expect(haveTokensAfter(times, Infinity, 1)).toBe(false);
    expect(haveTokensAfter([[], [5]], 0, 1)).toBe(false);
  });
});

describe('rateTogether', () => {
  it('adds up streams in step, whatever the order of the tokens within a step', () => {
    // Four streams, a step every 20 ms, tokens of a step 1 ms apart in an order that turns around.
    const times = [0, 1, 2, 3].map((stream) =>
      steady(0, 20, 50).map((ms, step) => ms + (step < 25 ? stream : 3 - stream)),
    );
    expect(rateTogether(times)).toBeCloseTo(200, 0);
  });

  it('leaves out the time in which some streams were still waiting or had ended', () => {
    // Alone one stream is twice as fast as beside the other.
    const first = [...steady(0, 10, 11), ...steady(120, 20, 20), ...steady(510, 10, 9)];
    const second = steady(100, 20, 21);
    expect(rateTogether([first, second])).toBeCloseTo(100, 9);
  });

  it('refuses streams that never decode together', () => {
    expect(() => rateTogether([steady(0, 10, 3), steady(50, 10, 3)])).toThrow(/never decoded/);
    expect(() => rateTogether([steady(0, 10, 3), []])).toThrow(RangeError);
  });
});

describe('gapsDuring', () => {
  const times = [[0, 10, 20, 300, 310, 320]];

  it('counts in full every pause that overlaps the time', () => {
    expect(gapsDuring(times, 25, 305)).toEqual([280, 10]);
    expect(gapsDuring(times, 20, 300)).toEqual([280]);
    expect(gapsDuring(times, 100, 101)).toEqual([280]);
  });

  it('looks at each stream for itself', () => {
    expect(gapsDuring([[0, 10], [5], [], [8, 20]], 0, 100)).toEqual([10, 12]);
  });
});
