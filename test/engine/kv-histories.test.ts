import { describe, expect, it } from 'vitest';
import { createFakeBackend } from '../../adapters/fake/backend.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { EngineTotals, PreparedPrompt } from '../../src/engine/engine.ts';
import { replayTrace, traceBackend, type TraceEntry } from '../../src/engine/trace.ts';
import { collect, createTestEngine, idsOf } from '../support/engine-harness.ts';
import { createSimulatedClock } from '../support/fake-clock.ts';
import { cutBack, extend, randomParams, visible } from '../support/random-turns.ts';
import { forSeeds } from '../support/seeded-random.ts';

const CONTEXT = 240;
const CONFIG = fakeModelConfig({ vocabSize: 70, windowTokens: 7, maxPositions: CONTEXT });
/** What the histories must have met to be worth anything. */
const REACHED = [
  'row',
  'copy',
  'pages',
  'preemptions',
  'fairPreemptions',
  'pagesEvicted',
  'imageHits',
  'draftTokens',
  'acceptedTokens',
];
const SCOPES = ['', 'other tenant'];
const TENANTS = ['a', 'b', 'c'];

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function add(sums: Map<string, number>, totals: EngineTotals): void {
  const counters = { ...totals, ...totals.prefixHitTokens, ...totals.speculation };
  for (const [name, value] of Object.entries(counters)) {
    if (typeof value === 'number') sums.set(name, (sums.get(name) ?? 0) + value);
  }
}

describe('random conversations over rows and pages', { timeout: 120_000 }, () => {
  it('say what they would say alone, and their traces replay to the bit', async () => {
    const sums = new Map<string, number>();
    let turns = 0;
    await forSeeds(Number(process.env['SEEDS'] ?? 1500), async (random) => {
      const clock = createSimulatedClock();
      const shape = {
        config: CONFIG,
        rowCount: random.integer(1, 4),
        chunkTokens: random.integer(3, 40),
        alignTokens: random.pick([4, 16]),
      };
      const stepMs = random.pick([0, 20]);
      const trace: TraceEntry[] = [];
      let pixels: ReadonlyMap<number, Float32Array> = new Map();
      const { backend, engine } = createTestEngine(
        {
          clock,
          kvBudgetBytes: random.pick([0, 600, 3000, 1e6]),
          pageTokens: random.pick([4, 16, 32]),
          imageCacheBytes: random.pick([0, 4096]),
          sliceMs: random.pick([Number.POSITIVE_INFINITY, 0, 15]),
          speculates: random.chance(0.5),
        },
        {
          ...shape,
          pace: { clock, tokenMs: 1, imageMs: 3 },
          beforeForward: () => clock.sleep(stepMs),
        },
        (inner) => {
          const traced = traceBackend(inner, (entry) => trace.push(entry));
          pixels = traced.pixels;
          return traced;
        },
      );
      // The oracle never reuses anything: each of its scopes is used once.
      const alone = createTestEngine({}, { ...shape, rowCount: 1 });
      let aloneCalls = 0;
      const known: PreparedPrompt[] = [];
      const clients = Array.from({ length: random.integer(1, 5) }, async () => {
        const start = { tokens: Int32Array.of(2), images: [], assistantSpans: [] };
        const tenant = random.pick(TENANTS);
        let prompt = extend(random, { ...start, scope: random.pick(SCOPES), tenant }, []);
        for (let left = random.integer(1, 5); left > 0; left--) {
          const params = randomParams(random);
          if (prompt.tokens.length + params.maxTokens > CONTEXT) return;
          turns++;
          const controller = new AbortController();
          const leaveAfter = random.chance(0.25) ? random.integer(0, 15) : Infinity;
          const isSlow = random.chance(0.2);
          const events: object[] = [];
          try {
            for await (const event of engine.generate(prompt, params, controller.signal)) {
              events.push(event);
              if (events.length >= leaveAfter) controller.abort(new Error('left'));
              if (isSlow) await clock.sleep(random.integer(0, 40));
            }
          } catch (error) {
            if (!(error instanceof Error) || error.message !== 'left') throw error;
          }
          const scope = `alone ${aloneCalls++}`;
          const expected = await collect(alone.engine.generate({ ...prompt, scope }, params));
          const seen = visible(events);
          const whole = visible(expected);
          if (events.length < leaveAfter) expect(seen).toBe(whole);
          else expect(whole.startsWith(seen.slice(0, -1))).toBe(true);
          known.push(prompt);
          const answered = extend(random, prompt, idsOf(expected));
          const forked = { ...random.pick(known), scope: prompt.scope, tenant };
          prompt = random.pick([answered, answered, prompt, extend(random, forked, [])]);
          if (random.chance(0.15)) prompt = extend(random, cutBack(random, prompt), []);
        }
      });
      await Promise.all(clients);
      await settle();
      const stats = engine.stats();
      expect(stats).toMatchObject({ running: 0, waiting: 0, kvUsage: 0 });
      expect(backend.rowsInUse()).toBe(stats.warmRows);
      expect(stats.pages.bytes).toBeLessThanOrEqual(stats.pages.budgetBytes);
      add(sums, stats.totals);
      const fresh = createFakeBackend(shape);
      expect(await replayTrace(trace, fresh, pixels)).toMatchObject({ firstDifference: null });
      await engine.close();
      expect(engine.stats()).toMatchObject({ warmRows: 0, pages: { count: 0, bytes: 0 } });
    });
    // Shows that the histories reached what they are about.
    console.log(`${turns} turns`, Object.fromEntries(sums));
    for (const name of REACHED) {
      expect(sums.get(name), name).toBeGreaterThan(50);
    }
  });

  it('lose only time when pages cannot be written or read', async () => {
    await forSeeds(150, async (random) => {
      let failures = 0;
      const clock = createSimulatedClock();
      const shape = { config: CONFIG, rowCount: 2, chunkTokens: 16, alignTokens: 4 };
      const { backend, engine } = createTestEngine(
        { clock, kvBudgetBytes: 1e6, pageTokens: 8, sliceMs: 10 },
        {
          ...shape,
          pace: { clock, tokenMs: 1, imageMs: 3 },
          beforeKv: () => {
            if (!random.chance(0.3)) return;
            failures++;
            throw new Error('injected');
          },
        },
      );
      const alone = createTestEngine({}, { ...shape, rowCount: 1 });
      const clients = Array.from({ length: 5 }, async (_, client) => {
        const start = { tokens: Int32Array.of(2), images: [], assistantSpans: [] };
        let prompt = extend(random, { ...start, scope: `${client % 2}` }, []);
        for (let turn = 0; turn < 3; turn++) {
          const params = { ...randomParams(random), maxTokens: random.integer(4, 20) };
          if (prompt.tokens.length + params.maxTokens > CONTEXT) return;
          const scope = `alone ${client} ${turn}`;
          const expected = await collect(alone.engine.generate({ ...prompt, scope }, params));
          const seen = await collect(engine.generate(prompt, params));
          expect(visible(seen)).toBe(visible(expected));
          prompt = extend(random, prompt, idsOf(expected));
        }
      });
      await Promise.all(clients);
      await settle();
      expect(failures).toBeGreaterThan(0);
      expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 });
      expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
      await engine.close();
    });
  });
});
