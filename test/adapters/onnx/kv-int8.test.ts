import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/engine/backend.ts';
import type { GenerateEvent } from '../../../src/engine/engine.ts';
import type { KvStore } from '../../../src/engine/kv/kv-store.ts';
import { createObjectKvStore } from '../../../src/engine/kv/store/object-kv-store.ts';
import { systemClock } from '../../../src/lib/clock.ts';
import {
  createDemoEngine,
  DEMO_CONTEXT,
  DEMO_PAGE_TOKENS,
  DEMO_PARAMS,
  differsWithinMargin,
  extendDemo,
  tokensOf,
} from '../../support/demo-turns.ts';
import { collect, idsOf } from '../../support/engine-harness.ts';
import { memoryStore, type MemoryStore } from '../../support/memory-store.ts';
import { DEMO_FOLDER, loadOnnx } from '../../support/onnx-model.ts';
import { createSeededRandom } from '../../support/seeded-random.ts';

const CONVERSATIONS = 6;
const TURNS = 5;

describe.each(['exact', 'fast'] as const)('int8 pages of the demo model, %s', (precision) => {
  let backend: Backend;
  let lone: Backend;

  beforeAll(async () => {
    const options = { precision, contextTokens: DEMO_CONTEXT };
    backend = await loadOnnx(DEMO_FOLDER, options);
    lone = await loadOnnx(DEMO_FOLDER, options);
  });

  afterAll(async () => {
    await backend.close();
    await lone.close();
  });

  function openStore(store: MemoryStore, format: 'exact' | 'int8'): KvStore {
    const { text, vision } = backend.config;
    return createObjectKvStore({
      store,
      fingerprint: 'demo',
      kvTokenBytes: backend.kvTokenBytes,
      int8HeadDim: format === 'int8' ? text.headDim : null,
      windowTokens: text.windowTokens,
      tokensPerImage: vision?.tokensPerImage ?? 0,
      pageTokens: DEMO_PAGE_TOKENS,
      clock: systemClock,
      instance: 'test',
      alwaysRestores: true,
    });
  }

  /** A process of its own, as far as keys and values go: they are in the store alone. */
  function restart(store: MemoryStore, format: 'exact' | 'int8') {
    const borrowed = { ...backend, close: async () => undefined };
    const kvStore = openStore(store, format);
    return createDemoEngine(borrowed, { kvBudgetBytes: 1e9, kvStore });
  }

  it('bring back conversations that go on with the same words, in a quarter of the bytes', async () => {
    const random = createSeededRandom(20_261_125);
    const tokensPerImage = backend.config.vision?.tokensPerImage ?? 0;
    const stores = { exact: memoryStore(), int8: memoryStore() };
    const fresh = createDemoEngine(lone, {});
    const bytes = { exact: 0, int8: 0 };
    let compared = 0;
    let withinMargin = 0;
    let restored = 0;
    for (let number = 0; number < CONVERSATIONS; number++) {
      const start = {
        tokens: Int32Array.of(2),
        images: [],
        assistantSpans: [],
        scope: `${number}`,
      };
      let prompt = extendDemo(random, start, [], tokensPerImage);
      for (let turn = 0; turn < TURNS; turn++) {
        let answer: GenerateEvent[] = [];
        // The last one's answer counts.
        for (const format of ['exact', 'int8'] as const) {
          const engine = restart(stores[format], format);
          answer = await collect(engine.generate(prompt, DEMO_PARAMS));
          await engine.drain(60_000);
          const stats = engine.stats().store;
          bytes[format] += stats?.writtenBytes ?? 0;
          if (format === 'int8') restored += stats?.fetchedTokens ?? 0;
          await engine.close();
        }
        const scope = `fresh ${number} ${turn}`;
        const anew = tokensOf(await collect(fresh.generate({ ...prompt, scope }, DEMO_PARAMS)));
        compared += anew.length;
        if (differsWithinMargin(anew, tokensOf(answer))) withinMargin++;
        prompt = extendDemo(random, prompt, idsOf(answer), tokensPerImage);
      }
    }
    console.log(
      `${precision}: ${compared} tokens in ${CONVERSATIONS * TURNS} answers, margin rule applied ${withinMargin} times; ${restored} tokens restored, ${bytes.int8} bytes written for ${bytes.exact}`,
    );
    expect(restored).toBeGreaterThan(1000);
    expect(bytes.int8).toBeLessThan(bytes.exact * 0.28);
  });

  it('are not met by processes that keep exact ones, nor the other way round', async () => {
    const random = createSeededRandom(3);
    const store = memoryStore();
    const start = { tokens: Int32Array.of(2), images: [], assistantSpans: [], scope: 'a' };
    const prompt = extendDemo(random, extendDemo(random, start, [], 0), [], 0);
    for (const [format, fetched] of [
      ['exact', 0],
      ['int8', 0],
      ['exact', 1],
      ['int8', 1],
    ] as const) {
      const engine = restart(store, format);
      await collect(engine.generate(prompt, DEMO_PARAMS));
      await engine.drain(60_000);
      const stats = engine.stats().store;
      expect(Math.min(1, stats?.fetchedPages ?? 0)).toBe(fetched);
      expect(stats?.refused).toEqual({});
      await engine.close();
    }
  });
});
