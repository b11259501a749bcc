import { describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import { formatKv } from '../../infra/bench/kv-report.ts';
import type { KvSettings, Turn } from '../../infra/bench/kv-report.ts';
import { measureForks, measureHistory, measureImages } from '../../infra/bench/measure-kv.ts';
import { createTestEngine } from '../support/engine-harness.ts';

const settings: KvSettings = {
  size: 'mini',
  history: [200, 300],
  forks: 3,
  images: 2,
  threads: 2,
  answerTokens: 8,
  newTokens: 16,
};
const WINDOW_TOKENS = 32;

function testEngine(rowCount: number, kvBudgetBytes = 2 ** 26) {
  const config = fakeModelConfig({ maxPositions: 512, windowTokens: WINDOW_TOKENS });
  return createTestEngine({ kvBudgetBytes, pageTokens: 32 }, { config, rowCount });
}

describe('measureHistory', () => {
  it('has the second turn in its row, the third from pages, and then nothing to reuse', async () => {
    const { engine, backend } = testEngine(1);
    const result = await measureHistory({ engine, backend }, settings, 300);
    expect(result.first.cachedTokens).toBe(0);
    expect(result.first.ids).toHaveLength(8);
    // The last token of an answer has been said, but not computed.
    expect(result.warm.cachedTokens).toBe(300 + 8 - 1);
    expect(result.restored.cachedTokens).toBe(300 + 8 + 16 + 8 - 1);
    expect(result.recomputed.cachedTokens).toBe(0);
    const { global, local } = backend.kvTokenBytes;
    expect(result.movedBytes).toBe(331 * global + (WINDOW_TOKENS - 1) * local);
    expect(result.pageBytes).toBeGreaterThan(0);
    await engine.close();
  });

  it('shows that nothing is restored where no memory is given to pages', async () => {
    const { engine, backend } = testEngine(1, 0);
    const result = await measureHistory({ engine, backend }, settings, 300);
    expect(result.warm.cachedTokens).toBe(307);
    expect(result.restored.cachedTokens).toBe(0);
    expect([result.movedBytes, result.pageBytes]).toEqual([0, 0]);
    await engine.close();
  });
});

describe('measureForks', () => {
  it('finds the shared prompt computed once', async () => {
    const { engine } = testEngine(3);
    const result = await measureForks(engine, settings);
    expect(result.sharedTokens).toBe(200);
    expect(result.cachedTokens.filter((count) => count === 0)).toHaveLength(1);
    expect(Math.max(...result.cachedTokens)).toBeLessThan(200);
    expect(result.cachedTokens.filter((count) => count > 180)).toHaveLength(2);
    await engine.close();
  });
});

describe('measureImages', () => {
  it('counts the images that a second turn encodes again', async () => {
    const { engine } = testEngine(1);
    const result = await measureImages(engine, settings);
    expect(result.promptTokens).toBe(16 + 2 * (4 + 16));
    expect(result.warm.cachedTokens).toBe(56 + 8 - 1);
    expect(result.encodedAgain).toBe(0);
    await engine.close();
  });
});

function turn(ttftMs: number, cachedTokens: number): Turn {
  return { ttftMs, movesMs: ttftMs / 2, cachedTokens, ids: [] };
}

describe('formatKv', () => {
  it("gives each later turn as a part of the first turn's time", () => {
    const text = formatKv(settings, {
      histories: [
        {
          history: 2048,
          first: turn(18_000, 0),
          warm: turn(360, 2063),
          restored: turn(400, 2111),
          recomputed: turn(19_000, 0),
          movedBytes: 40e6,
          pageBytes: 110e6,
        },
      ],
      forks: { sharedTokens: 2048, aloneMs: 1000, ttftMs: [1000, 1100], cachedTokens: [0, 2047] },
      images: null,
      llama: [{ label: 'llama.cpp', history: 2048, firstMs: 20_000, secondMs: 500 }],
    });
    expect(text).toContain(
      '| 2048 | 18000 ms | 360 ms (2.0 %, 2063 cached) | 400 ms (2.2 %, 2111 cached) | 40 MB in 200 ms | 19000 ms | 110 MB |',
    );
    expect(text).toContain('after 1100 ms, 1.10 of one alone (1000 ms); cached: 0, 2047');
    expect(text).toContain('turn 2 in the same sequence 500 ms (2.5 %)');
  });
});
