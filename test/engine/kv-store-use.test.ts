import { describe, expect, it } from 'vitest';
import { FAKE_TOKEN_BYTES } from '../../adapters/fake/row.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { GenerateEvent, StoreUse } from '../../src/engine/engine.ts';
import { createObjectKvStore } from '../../src/engine/kv/store/object-kv-store.ts';
import { collect, createTestEngine, GREEDY, testPrompt } from '../support/engine-harness.ts';
import { createSimulatedClock } from '../support/fake-clock.ts';
import { memoryStore, type MemoryStore } from '../support/memory-store.ts';

const CONFIG = fakeModelConfig({ windowTokens: 7, maxPositions: 512 });
const LONG = 'a'.repeat(200);

/** A process over a store each of whose answers takes so long. */
function startProcess(store: MemoryStore | null, tokenMs: number, answerMs = 0) {
  const clock = createSimulatedClock();
  let storeMs = 0;
  const kvStore =
    store === null
      ? null
      : createObjectKvStore({
          store,
          fingerprint: 'model',
          kvTokenBytes: { global: FAKE_TOKEN_BYTES, local: FAKE_TOKEN_BYTES },
          windowTokens: 7,
          tokensPerImage: 4,
          pageTokens: 16,
          clock: { now: () => (storeMs += answerMs), sleep: () => new Promise(() => undefined) },
          instance: 'test',
        });
  const { engine } = createTestEngine(
    { clock, kvBudgetBytes: 1e6, pageTokens: 16, ...(kvStore === null ? {} : { kvStore }) },
    { config: CONFIG, rowCount: 1, alignTokens: 4, pace: { clock, tokenMs, imageMs: 1 } },
  );
  return {
    async ask(text: string): Promise<{ use: StoreUse | null; cachedTokens: number }> {
      const events: readonly GenerateEvent[] = await collect(
        engine.generate(testPrompt(text), GREEDY),
      );
      const [start] = events;
      if (start?.type !== 'prefill-end') throw new TypeError('no start');
      return { use: start.store, cachedTokens: start.cachedTokens };
    },
    async stop(): Promise<void> {
      // What an ended turn leaves is taken a little later.
      await new Promise((resolve) => setImmediate(resolve));
      await kvStore?.flush();
      await engine.close();
    },
  };
}

describe('what is said of a store', () => {
  it('is nothing where there is none, or it held no more than the process', async () => {
    const none = startProcess(null, 1);
    expect(await none.ask(LONG)).toEqual({ use: null, cachedTokens: 0 });
    const alone = startProcess(memoryStore(), 1);
    expect((await alone.ask(LONG)).use).toBeNull();
    const again = await alone.ask(LONG);
    expect(again.use).toBeNull();
    expect(again.cachedTokens).toBeGreaterThan(190);
    await alone.stop();
  });

  it('is what was restored, and what was not since computing was faster', async () => {
    const store = memoryStore();
    const first = startProcess(store, 1);
    await first.ask(LONG);
    await first.stop();

    // Nothing is known of the store: restoring is how its rate becomes known.
    const second = startProcess(store, 0.001, 2);
    const restored = await second.ask(`${LONG}, and so on`);
    expect(restored.use).toEqual({ choice: 'restore', tokens: restored.cachedTokens });
    expect(restored.cachedTokens).toBeGreaterThan(190);
    await second.ask('b'.repeat(100));
    await second.stop();

    const other = startProcess(store, 1);
    await other.ask('c'.repeat(300));
    await other.stop();
    const third = startProcess(store, 0.001, 2);
    await third.ask(LONG);
    await third.ask('b'.repeat(150));
    const computed = await third.ask('c'.repeat(300));
    expect(computed.use?.choice).toBe('recompute');
    // Its last page goes on with the answer, and so is of another content.
    expect(computed.use?.tokens).toBe(288);
    // `<bos>` is in the row.
    expect(computed.cachedTokens).toBeLessThan(2);
    await third.stop();
  });
});
