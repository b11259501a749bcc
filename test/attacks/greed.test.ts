import { describe, expect, it } from 'vitest';
import type { SamplingParams } from '../../src/engine/engine.ts';
import { collect, createTestEngine, GREEDY, idsOf, testPrompt } from '../support/engine-harness.ts';
import { collect as collectText, request } from '../support/completions.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { createSimulatedClock } from '../support/fake-clock.ts';
import { createSeededRandom, forSeeds } from '../support/seeded-random.ts';

const LONG: SamplingParams = { ...GREEDY, maxTokens: 400 };
const SHORT: SamplingParams = { ...GREEDY, maxTokens: 2 };

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Stepped {
  readonly engine: ReturnType<typeof createTestEngine>['engine'];
  /** Steps computed so far. */
  steps(): number;
}

function steppedEngine(rowCount: number, maxWaiting = 64, kvBudgetBytes = 1e6): Stepped {
  let steps = 0;
  const { engine } = createTestEngine(
    { clock: createSimulatedClock(), maxWaiting, kvBudgetBytes },
    { rowCount, beforeForward: async () => void (await settle(), steps++) },
  );
  return { engine, steps: () => steps };
}

/** Asks for many long answers as one tenant; what became of them does not matter. */
function flood({ engine }: Stepped, count: number, tenant: string): Promise<unknown> {
  return Promise.allSettled(
    Array.from({ length: count }, (_, index) =>
      collect(engine.generate({ ...testPrompt(`${tenant} ${index}`), tenant }, LONG)),
    ),
  );
}

describe('one tenant that asks for everything', () => {
  it.each([1, 2, 4])('leaves another its turn within few steps, on %i rows', async (rowCount) => {
    const stepped = steppedEngine(rowCount);
    const all = flood(stepped, 60, 'greedy');
    while (stepped.steps() < 10) await settle();
    for (let turn = 0; turn < 5; turn++) {
      const before = stepped.steps();
      const prompt = { ...testPrompt(`other ${turn}`), tenant: 'other' };
      expect(idsOf(await collect(stepped.engine.generate(prompt, SHORT)))).toHaveLength(2);
      // On one row a turn of the other may have to end first: 64 tokens.
      expect(stepped.steps() - before).toBeLessThan(rowCount === 1 ? 90 : 20);
    }
    await stepped.engine.close();
    await all;
  });

  it('cannot fill the queue: its newest make way for others', async () => {
    const stepped = steppedEngine(1, 8);
    const all = flood(stepped, 9, 'greedy');
    await settle();
    const own = collect(
      stepped.engine.generate({ ...testPrompt('one more'), tenant: 'greedy' }, SHORT),
    );
    await expect(own).rejects.toMatchObject({ code: 'queue_full' });
    const prompt = { ...testPrompt('other'), tenant: 'other' };
    expect(idsOf(await collect(stepped.engine.generate(prompt, SHORT)))).toHaveLength(2);
    expect(stepped.engine.stats().totals.displaced).toBe(1);
    await stepped.engine.close();
    await all;
  });

  it('may be bounded in what runs and waits', async () => {
    const { engine } = createTestEngine({ maxPerTenant: 2 }, { rowCount: 4 });
    const ask = (tenant: string) => collect(engine.generate({ ...testPrompt('x'), tenant }, SHORT));
    const answers = await Promise.allSettled([ask('a'), ask('a'), ask('a'), ask('b')]);
    expect(answers.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(answers[2]).toMatchObject({ reason: { code: 'queue_full' } });
    await engine.close();
  });

  it('gets all rows while nobody else is there, and half of them beside one other', async () => {
    const stepped = steppedEngine(4);
    const all = [flood(stepped, 12, 'a')];
    while (stepped.steps() < 10) await settle();
    expect(stepped.engine.stats().totals.preemptions).toBe(0);
    all.push(flood(stepped, 12, 'b'));
    const before = stepped.steps();
    while (stepped.steps() < before + 30) await settle();
    expect(stepped.engine.stats().totals.fairPreemptions).toBe(2);
    await stepped.engine.close();
    await Promise.all(all);
  });
});

describe('one request of very many choices', () => {
  it('has all of them, though never more than there are rows take a place', async () => {
    let most = 0;
    const { completer } = createFakeEngineCompleter(
      { maxWaiting: 2 },
      {
        rowCount: 3,
        beforeForward() {
          const { running = 0, waiting = 0 } = completer.stats?.() ?? {};
          most = Math.max(most, running + waiting);
        },
      },
    );
    const events = await collectText(completer.complete(request({}, { choiceCount: 128 })));
    expect(events.filter(({ type }) => type === 'finish')).toHaveLength(128);
    expect(most).toBe(3);
    await completer.close();
  });
});

describe('random tenants', () => {
  it('all get what they would get alone, and nobody waits for ever', async () => {
    let moved = 0;
    await forSeeds(40, async (random, seed) => {
      const stepped = steppedEngine(random.integer(1, 4), 200, random.pick([0, 1e6]));
      const alone = createTestEngine({}, { rowCount: 1 });
      const tenants = Array.from({ length: random.integer(1, 4) }, (_, index) => `t${index}`);
      await Promise.all(
        tenants.flatMap((tenant, index) => {
          const own = createSeededRandom(seed * 100 + index);
          return Array.from({ length: own.integer(1, 8) }, async (_, number) => {
            for (let steps = own.integer(0, 150); steps > 0; steps--) await settle();
            const params = { ...GREEDY, maxTokens: own.integer(0, 100) };
            const prompt = testPrompt(`${tenant} ${number} ${'x'.repeat(own.integer(0, 60))}`);
            const seen = await collect(stepped.engine.generate({ ...prompt, tenant }, params));
            expect(idsOf(seen)).toEqual(
              idsOf(await collect(alone.engine.generate(prompt, params))),
            );
          });
        }),
      );
      moved += stepped.engine.stats().totals.fairPreemptions;
      expect(stepped.engine.stats()).toMatchObject({ running: 0, waiting: 0 });
      await stepped.engine.close();
    });
    expect(moved).toBeGreaterThan(20);
  });
});
