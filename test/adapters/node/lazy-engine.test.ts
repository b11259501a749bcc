import { afterEach, describe, expect, it } from 'vitest';
import {
  createEngine,
  createLazyEngine,
  describeModel,
  type LazyEngine,
} from '../../../adapters/node/index.ts';
import type { LoadEvent } from '../../../src/lazy-completer.ts';
import { collect, request, textOf } from '../../support/completions.ts';
import { until } from '../../support/app-harness.ts';
import { rejectedBy } from '../../support/thrown-by.ts';

const options = { model: 'demo', precision: 'exact', threads: 2, kvBudgetBytes: 0 } as const;
const greedy = request({ temperature: 0 });

let engine: LazyEngine | undefined;
afterEach(async () => {
  await engine?.close();
  engine = undefined;
});

describe('describing a model', () => {
  it('tells what loading it gives, without loading it', async () => {
    const described = await describeModel(options);
    const loaded = await createEngine(options);
    try {
      const { vocabSize, createdSeconds: _, ...card } = loaded.model;
      expect(described.card).toMatchObject(card);
      expect(described.card.vocabSize).toBeGreaterThanOrEqual(vocabSize);
      expect(described.memory).toEqual(loaded.memory);
      expect(described.config).toEqual(loaded.config);
    } finally {
      await loaded.close();
    }
  });

  it('refuses what loading refuses', async () => {
    await expect(describeModel({ model: './nowhere' })).rejects.toThrow('no model at ./nowhere');
    await expect(describeModel({ contextTokens: 1e6 })).rejects.toThrow(RangeError);
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(describeModel({ signal })).rejects.toThrow('enough');
  });
});

describe('the lazy engine', () => {
  it('loads the demo model with the first of two requests, unloads, and loads it again', async () => {
    const events: LoadEvent['type'][] = [];
    const lazy = createLazyEngine({
      ...options,
      idleUnloadMs: 1,
      onLoad: ({ type }) => void events.push(type),
    });
    engine = lazy;
    const card = await lazy.describe();
    expect([lazy.state, lazy.memory()?.totalBytes, events]).toEqual([
      'idle',
      expect.any(Number),
      [],
    ]);
    const first = await Promise.all([1, 2].map(async () => collect(lazy.complete(greedy))));
    expect(lazy.model).toMatchObject({ id: card.id, createdSeconds: card.createdSeconds });
    await until(() => events.includes('unload'));
    expect(lazy.state).toBe('idle');
    const again = await collect(lazy.complete(greedy));
    const texts = [...first, again].map((answer) => textOf(answer));
    expect(texts[0]).not.toBe('');
    expect(new Set(texts).size).toBe(1);
    expect(events.slice(0, 5)).toEqual([
      'load-begin',
      'load-end',
      'unload',
      'load-begin',
      'load-end',
    ]);
  });

  it('says why it cannot load, and that no memory would do', async () => {
    engine = createLazyEngine({ model: './nowhere' });
    const error = await rejectedBy(engine.ready());
    expect(error).toMatchObject({ code: 'weights_unavailable' });
    expect(String(error.cause)).toContain('no model at ./nowhere');
    const huge = createLazyEngine({ ...options, kvBudgetBytes: 2 ** 50 });
    expect(await rejectedBy(huge.describe())).toMatchObject({ code: 'out_of_memory' });
    await huge.close();
  });
});
