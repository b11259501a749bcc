import { describe, expect, it, vi } from 'vitest';
import type { GenerateEvent } from '../../src/engine/engine.ts';
import {
  collect,
  createTestEngine,
  GREEDY,
  idsOf,
  reading,
  testImage,
  testPrompt,
  toPixels,
} from '../support/engine-harness.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';

const lastOf = (events: readonly GenerateEvent[]): GenerateEvent | undefined => events.at(-1);
/** Lets everything that can happen without time passing happen. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function once(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve());
  });
}

/** Lets time pass in steps of 10 ms until `work` is over. */
async function passTime(clock: FakeClock, work: Promise<unknown>): Promise<void> {
  const progress = { isDone: false };
  const end = (): void => {
    progress.isDone = true;
  };
  work.then(end, end);
  while (!progress.isDone) {
    await settle();
    clock.advance(10);
  }
}

describe('local engine, failures and shutdown', () => {
  it('fails the sequences of a failed step with its cause, and goes on', async () => {
    let failNext = false;
    const { engine, backend } = createTestEngine(
      {},
      {
        beforeForward: () => {
          if (failNext) {
            failNext = false;
            throw new Error('/runtime/src/device.cc:42 device lost');
          }
        },
      },
    );
    const victim = reading(engine.generate(testPrompt('victim'), { ...GREEDY, maxTokens: 300 }));
    await victim.next();
    failNext = true;
    const rest = (async () => {
      for await (const event of victim) expect(event.type).toBe('token');
    })();
    await expect(rest).rejects.toMatchObject({
      code: 'internal',
      // Words of a backend are for the log.
      message: "A step of the model failed; the server's log has the details under the request id.",
      cause: expect.objectContaining({ message: '/runtime/src/device.cc:42 device lost' }),
    });
    await settle();
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
    expect(idsOf(await collect(engine.generate(testPrompt('next'), GREEDY)))).toHaveLength(8);
  });

  it('encodes an image of several sequences once, beside running decodes', async () => {
    const encoded: number[] = [];
    const steps: string[] = [];
    const gate = new AbortController();
    const { engine } = createTestEngine(
      {},
      {
        beforeEncode: (count) => {
          encoded.push(count);
          return once(gate.signal);
        },
        beforeForward: ({ chunk }) => {
          steps.push(chunk === null || chunk.image === null ? 'text' : 'image');
        },
      },
    );
    const withImage = [1, 2, 3].map(() =>
      collect(engine.generate(testPrompt('see ', 9, ' and ', 9), GREEDY)),
    );
    const text = await collect(engine.generate(testPrompt('no picture'), GREEDY));
    expect(idsOf(text)).toHaveLength(8);
    expect(steps).not.toContain('image');
    gate.abort();
    const answers = (await Promise.all(withImage)).map((events) => idsOf(events).join());
    expect(new Set(answers).size).toBe(1);
    expect(encoded).toEqual([1]);
    expect(steps.filter((kind) => kind === 'image')).toHaveLength(6);
  });

  it('fails only the sequences whose image cannot be encoded', async () => {
    const { engine, backend } = createTestEngine({
      toPixels: (images) => {
        if (images[0]?.sha256 === testImage(1).sha256) throw new Error('no pixels');
        return toPixels(images);
      },
    });
    const bad = collect(engine.generate(testPrompt(1), GREEDY));
    const good = collect(engine.generate(testPrompt(2), GREEDY));
    await expect(bad).rejects.toMatchObject({ code: 'internal' });
    expect(idsOf(await good)).toHaveLength(8);
    await settle();
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
  });

  it('measures its steps and keeps chunks beside decodes within the budget', async () => {
    const clock = createFakeClock();
    const chunks: number[] = [];
    const { engine } = createTestEngine(
      { clock, prefillBudgetMs: 250 },
      {
        chunkTokens: 128,
        pace: { clock, tokenMs: 10, imageMs: 0 },
        beforeForward: ({ decode, chunk }) => {
          if (decode.length > 0 && chunk !== null) chunks.push(chunk.tokens.length);
        },
      },
    );
    const first = collect(
      engine.generate(testPrompt('y'.repeat(100)), { ...GREEDY, maxTokens: 30 }),
    );
    const second = collect(engine.generate(testPrompt('z'.repeat(100)), GREEDY));
    await passTime(clock, Promise.all([first, second]));
    expect(chunks[0]).toBeGreaterThan(16);
    for (const size of chunks) expect(size).toBeLessThanOrEqual(25);
    expect(lastOf(await first)).toMatchObject({ timings: { queueMs: 0, prefillMs: 1010 } });
  });

  it('drains: refuses new work and finishes what runs', async () => {
    const { engine } = createTestEngine();
    const answer = collect(engine.generate(testPrompt('a'), { ...GREEDY, maxTokens: 50 }));
    await settle();
    const drained = engine.drain(60_000);
    expect(engine.state).toBe('draining');
    await expect(collect(engine.generate(testPrompt('b'), GREEDY))).rejects.toMatchObject({
      code: 'draining',
    });
    await drained;
    expect(idsOf(await answer)).toHaveLength(50);
  });

  it('drains: aborts what is left at the deadline', async () => {
    const clock = createFakeClock();
    const { engine, backend } = createTestEngine({ clock });
    const stuck = reading(engine.generate(testPrompt('a'), { ...GREEDY, maxTokens: 400 }));
    await stuck.next();
    const drained = engine.drain(1000);
    await settle();
    clock.advance(1000);
    await drained;
    expect(backend.rowsInUse()).toBe(engine.stats().warmRows);
    const rest = (async () => {
      for await (const event of stuck) expect(event.type).toBe('token');
    })();
    await expect(rest).rejects.toMatchObject({ code: 'draining' });
  });

  it('closes once, ends everything and closes the backend', async () => {
    const { engine, backend } = createTestEngine();
    const close = vi.spyOn(backend, 'close');
    const open = reading(engine.generate(testPrompt('a', 1), { ...GREEDY, maxTokens: 400 }));
    await open.next();
    await Promise.all([engine.close(), engine.close()]);
    expect(engine.state).toBe('closed');
    expect(close).toHaveBeenCalledTimes(1);
    await expect(backend.forward({ decode: [], chunk: null })).rejects.toThrow();
    await expect(collect(engine.generate(testPrompt('b'), GREEDY))).rejects.toMatchObject({
      code: 'draining',
    });
  });

  it('refuses a context longer than the rows', () => {
    expect(() => createTestEngine({}, { rowTokens: 100 })).toThrow(RangeError);
  });
});
