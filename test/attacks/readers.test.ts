import { describe, expect, it } from 'vitest';
import type { GenerateEvent, SamplingParams } from '../../src/engine/engine.ts';
import {
  collect,
  createTestEngine,
  GREEDY,
  idsOf,
  reading,
  testPrompt,
} from '../support/engine-harness.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';

const LONG: SamplingParams = { ...GREEDY, maxTokens: 400 };
const SHORT: SamplingParams = { ...GREEDY, maxTokens: 2 };
const STALL_MS = 60_000;

const settle = async (): Promise<void> => {
  for (let round = 0; round < 20; round++) await new Promise((resolve) => setImmediate(resolve));
};

type Reader = AsyncGenerator<GenerateEvent, void, undefined>;

/** Streams whose readers take one event each and then nothing. */
async function stopReading(
  engine: ReturnType<typeof createTestEngine>['engine'],
  count: number,
  tenant: string,
): Promise<Reader[]> {
  const readers = Array.from({ length: count }, (_, index) =>
    reading(engine.generate({ ...testPrompt(`${tenant} ${index}`), tenant }, LONG)),
  );
  for (const reader of readers) void reader.next().catch(() => undefined);
  await settle();
  return readers;
}

/** Lets time pass in small steps, so that whoever wakes can act. */
async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    clock.advance(500);
    await settle();
  }
}

function engineOf(clock: FakeClock, maxWaiting = 64): ReturnType<typeof createTestEngine> {
  return createTestEngine(
    { clock, maxWaiting, kvBudgetBytes: 1e6, stallMs: STALL_MS },
    { rowCount: 4 },
  );
}

describe('streams that nobody reads', () => {
  it('make way for one waiting client, though nothing else happens', async () => {
    const clock = createFakeClock();
    const { engine } = engineOf(clock);
    await stopReading(engine, 4, 'a');
    const answer = collect(engine.generate({ ...testPrompt('hi'), tenant: 'a' }, SHORT));
    await settle();
    expect(engine.stats()).toMatchObject({ running: 4, waiting: 1 });
    await pass(clock, 1_000);
    expect(idsOf(await answer)).toHaveLength(2);
    await engine.close();
  });

  it('do not hide those behind them, however many they are', async () => {
    const clock = createFakeClock();
    const { engine } = engineOf(clock);
    // More than the engine looks at for one row.
    const readers = await stopReading(engine, 40, 'a');
    await pass(clock, 12_000);
    expect(engine.stats().totals.preemptions).toBeGreaterThanOrEqual(36);
    const answer = collect(engine.generate({ ...testPrompt('hi'), tenant: 'a' }, SHORT));
    await pass(clock, 1_500);
    expect(idsOf(await answer)).toHaveLength(2);
    expect(readers).toHaveLength(40);
    await engine.close();
  });

  it('do not fill the queue for others', async () => {
    const clock = createFakeClock();
    const { engine } = engineOf(clock, 8);
    for (let round = 0; round < 3; round++) {
      await stopReading(engine, 8, `a${round}`);
      await pass(clock, 4_000);
    }
    const answer = collect(engine.generate({ ...testPrompt('hi'), tenant: 'b' }, SHORT));
    await pass(clock, 1_500);
    expect(idsOf(await answer)).toHaveLength(2);
    expect(engine.stats().waiting).toBeLessThanOrEqual(16);
    await engine.close();
  });

  it('are given up after a minute, with an error that says why', async () => {
    const clock = createFakeClock();
    const { engine, backend } = engineOf(clock);
    const readers = await stopReading(engine, 6, 'a');
    await pass(clock, STALL_MS + 3_000);
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, totals: { stalledReaders: 6 } });
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
    const rest = collect(readers[0] as Reader);
    await expect(rest).rejects.toMatchObject({ code: 'reader_stalled' });
    await engine.close();
  });

  it('go on where they were when they are read slowly', async () => {
    const clock = createFakeClock();
    const { engine } = engineOf(clock);
    const expected = idsOf(await collect(engine.generate(testPrompt('a 0'), LONG)));
    const [reader] = await stopReading(engine, 1, 'a');
    const seen: GenerateEvent[] = [];
    for (;;) {
      const next = await (reader as Reader).next();
      if (next.done === true) break;
      seen.push(next.value);
      if (seen.length % 40 === 0) await pass(clock, STALL_MS - 2_000);
    }
    // The first event, of the prompt, went to the one who asked first.
    expect(idsOf(seen)).toEqual(expected);
    await engine.close();
  });

  it('hold no timer once they are gone', async () => {
    const clock = createFakeClock();
    const { engine } = engineOf(clock);
    const readers = await stopReading(engine, 2, 'a');
    expect(clock.sleeping()).toBe(1);
    for (const reader of readers) await reader.return();
    await settle();
    expect(clock.sleeping()).toBe(0);
    await engine.close();
  });
});
