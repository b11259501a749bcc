import { afterEach, describe, expect, it } from 'vitest';
import { fakeModelConfig } from '../../../adapters/fake/config.ts';
import { createKvCache, type KvCache } from '../../../adapters/onnx/kv-cache.ts';
import { createKvPages, type KvPages } from '../../../adapters/onnx/kv-pages.ts';
import type { KvPage } from '../../../src/engine/backend.ts';
import type { LayerType, ModelConfig } from '../../../src/model/config.ts';

const CONTEXT = 600;
const WINDOW = 20;
const RING = { windowTokens: WINDOW, chunkTokens: 16, alignTokens: 8 };

function configOf(layerTypes: readonly LayerType[], headDim = 4): ModelConfig {
  const { text, vision } = fakeModelConfig({ windowTokens: WINDOW });
  const layerCount = layerTypes.length;
  return { text: { ...text, layerTypes, layerCount, kvHeadCount: 2, headDim }, vision };
}

/** What a model would write: a number for each layer, kind, head, position and dimension. */
function valueAt(layer: number, kind: number, head: number, at: number, dim: number): number {
  return ((layer * 2 + kind) * 2 + head) * 1e5 + at * 10 + dim;
}

/** Appends a token to a row, as a pass would. */
function append(cache: KvCache, config: ModelConfig, row: number): void {
  const { headDim, layerTypes } = config.text;
  cache.reserve(row, 1);
  const state = cache.rows[row];
  if (state === undefined) throw new Error('no such row');
  for (const [layer, type] of layerTypes.entries()) {
    const index = type === 'global' ? state.length : state.localLength;
    for (const [kind, { buffer }] of cache.layers[layer]?.entries() ?? []) {
      const floats = new Float32Array(buffer);
      for (const head of [0, 1]) {
        const at = ((row * 2 + head) * cache.capacity[type] + index) * headDim;
        for (let dim = 0; dim < headDim; dim++) {
          floats[at + dim] = valueAt(layer, kind, head, state.length, dim);
        }
      }
    }
  }
  state.advance(1);
}

function floatsOf(bytes: Uint8Array): number[] {
  return Array.from(new Float32Array(bytes.slice().buffer));
}

function expectedPart(layers: readonly number[], from: number, to: number): number[] {
  const values: number[] = [];
  for (const layer of layers) {
    for (const kind of [0, 1]) {
      for (const head of [0, 1]) {
        for (let at = from; at < to; at++) {
          for (let dim = 0; dim < 4; dim++) values.push(valueAt(layer, kind, head, at, dim));
        }
      }
    }
  }
  return values;
}

/** The same bytes where no float could start. */
function shifted(bytes: Uint8Array): Uint8Array {
  const place = new Uint8Array(bytes.length + 3).subarray(3);
  place.set(bytes);
  return place;
}

describe('KV pages', () => {
  const caches: KvCache[] = [];
  afterEach(() => {
    for (const cache of caches.splice(0)) cache.free();
  });

  function open(config: ModelConfig, contextTokens = CONTEXT): { cache: KvCache; pages: KvPages } {
    const cache = createKvCache(config.text, 3, contextTokens, RING);
    caches.push(cache);
    return { cache, pages: createKvPages(cache, config, contextTokens) };
  }

  const CONFIG = configOf(['local', 'global', 'local']);

  it('lays out keys, then values, of every layer of a kind, head by head', async () => {
    const { cache, pages } = open(CONFIG);
    expect(pages.tokenBytes).toEqual({ global: 2 * 2 * 4 * 4, local: 2 * 2 * 2 * 4 * 4 });
    for (let token = 0; token < 100; token++) append(cache, CONFIG, 1);
    const localStart = cache.rows[1]?.localStart ?? 0;
    expect(localStart).toBeGreaterThan(60);
    const page = await pages.read(1, 61, 97);
    expect(floatsOf(page.global)).toEqual(expectedPart([1], 61, 97));
    expect(page.localStart).toBe(localStart);
    expect(floatsOf(page.local)).toEqual(expectedPart([0, 2], localStart, 97));
  });

  it('leaves nothing in a restored row that is not finite, and other rows alone', async () => {
    const { cache, pages } = open(CONFIG);
    for (let token = 0; token < 100; token++) append(cache, CONFIG, 1);
    const windowStart = 100 - WINDOW + 1;
    const start: KvPage = {
      ...(await pages.read(1, 0, windowStart)),
      localStart: windowStart,
      local: new Uint8Array(0),
    };
    const end = await pages.read(1, windowStart, 100);
    const read = async (row: number): Promise<KvPage> => pages.read(row, windowStart, 100);
    const before = await read(1);
    for (const [layer, pair] of cache.layers.entries()) {
      const rowFloats = cache.rowBytes(layer) / 4;
      for (const { buffer } of pair) {
        // A broken step left NaN all over row 2.
        new Float32Array(buffer).fill(Number.NaN, 2 * rowFloats, 3 * rowFloats);
      }
    }
    await pages.write(2, [start, end], 100, 0);
    const state = cache.rows[2];
    expect(state?.origin).toBeLessThan(windowStart);
    expect(await read(2)).toEqual(before);
    expect(await read(1)).toEqual(before);
    for (const [layer, type] of CONFIG.text.layerTypes.entries()) {
      const used = type === 'global' ? 100 : (state?.localLength ?? 0);
      for (const { buffer } of cache.layers[layer] ?? []) {
        const floats = new Float32Array(buffer);
        for (const head of [0, 1]) {
          const at = (2 * 2 + head) * cache.capacity[type] * 4;
          expect(floats.subarray(at, at + used * 4).every(Number.isFinite)).toBe(true);
        }
      }
    }
  });

  it('takes pages from memory of any alignment', async () => {
    const { cache, pages } = open(CONFIG);
    for (let token = 0; token < 30; token++) append(cache, CONFIG, 0);
    const page = await pages.read(0, 0, 30);
    const odd = { ...page, global: shifted(page.global), local: shifted(page.local) };
    await pages.write(2, [odd], 30, 0);
    expect(await pages.read(2, 15, 30)).toEqual(await pages.read(0, 15, 30));
    expect((await pages.read(2, 0, 30)).global).toEqual(page.global);
  });

  it('lets the event loop go on while it copies much', async () => {
    const config = configOf(['global', 'local'], 2048);
    const { cache, pages } = open(config, 2100);
    // 2048 tokens x 2 kinds x 2 heads x 2048 floats: 64 MiB.
    cache.rows[0]?.restore(2048, 2048 - WINDOW + 1);
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    setImmediate(count);
    const page = await pages.read(0, 0, 2048);
    const turnsOfRead = turns;
    await pages.write(1, [page], 2048, 0);
    isOver = true;
    expect(turnsOfRead).toBeGreaterThanOrEqual(3);
    expect(turns - turnsOfRead).toBeGreaterThanOrEqual(3);
  });

  it('leaves a row empty whose page is taken away under its hands', async () => {
    const config = configOf(['global', 'local'], 2048);
    const { cache, pages } = open(config, 2100);
    cache.rows[0]?.restore(2048, 2048 - WINDOW + 1);
    const page = await pages.read(0, 0, 2048);
    const writing = pages.write(1, [page], 2048, 0);
    structuredClone(page.global, { transfer: [page.global.buffer as ArrayBuffer] });
    await expect(writing).rejects.toThrow();
    expect(cache.rows[1]?.length).toBe(0);
  });
});
