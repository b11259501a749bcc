import { describe, expect, it } from 'vitest';
import { formatBatch } from '../../infra/bench/batch-report.ts';
import type { BatchSettings, PartResult } from '../../infra/bench/batch-report.ts';
import { betterOf } from '../../infra/bench/batch-suite.ts';

const settings: BatchSettings = {
  size: 'mini',
  streams: [1, 8],
  decodeTokens: 48,
  arriving: 8192,
  arrivals: 2,
  images: 1,
  threads: 2,
};

function part(label: string, one: number, eight: number, longestMs: number | null): PartResult {
  const gaps =
    longestMs === null
      ? null
      : { gapsMs: [40, 40, 40, longestMs], arrivalMs: [4000, 6000], aloneMs: 40 };
  return {
    label,
    tokensPerSecond: [one, eight],
    aloneTokensPerSecond: one + 5,
    textGaps: gaps,
    imageGaps: null,
  };
}

describe('formatBatch', () => {
  const text = formatBatch(settings, [
    { gemlet: part('gemlet', 20, 60, 280), llama: part('llama.cpp', 25, 50, 4000) },
    { gemlet: part('gemlet', 20, 70, 290), llama: part('llama.cpp', 25, 50, 4000) },
  ]);

  it('compares round by round: above 1 gemlet is faster', () => {
    expect(text).toContain('| 1 | 20.0 | 25.0 | 0.80 [0.80, 0.80] |');
    expect(text).toContain('| 8 | 65.0 | 50.0 | 1.30 [1.25, 1.35] |');
    expect(text).toContain('| 1, of one row | 25.0 | 30.0 | 0.83 [0.83, 0.83] |');
  });

  it('says what eight streams are over one, with and without rows for others', () => {
    expect(text).toContain('gemlet: 8 streams over 1: 3.25 [3.13, 3.38]');
    expect(text).toContain('over 1 in an engine of one row: 2.60 [2.50, 2.70]');
  });

  it('sets the longest pause beside the budget and a step', () => {
    expect(text).toMatch(
      /\| 2 x 8192 tokens, gemlet \| 40 \| \d+ \| 290 \| 40 \| 290 \| 5\.0 s \|/,
    );
    expect(text).toMatch(
      /\| 2 x 8192 tokens, llama \| 40 \| 4000 \| 4000 \| 40 \| 290 \| 5\.0 s \|/,
    );
    expect(text).not.toContain('images');
  });

  it('leaves out what was not measured', () => {
    const bare = formatBatch({ ...settings, streams: [2, 8] }, [
      { gemlet: part('gemlet', 1, 2, null), llama: part('llama.cpp', 1, 2, null) },
    ]);
    expect(bare).not.toMatch(/NaN|of one row:|Pauses/);
  });
});

describe('betterOf', () => {
  it('takes the setting that is faster at most numbers of streams', () => {
    const [flash, plain] = [part('flash', 10, 20, null), part('plain', 11, 21, null)];
    expect(betterOf(flash, plain).label).toBe('plain');
    expect(betterOf(plain, flash).label).toBe('plain');
  });
});
