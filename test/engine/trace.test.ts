import { describe, expect, it } from 'vitest';
import { createFakeBackend } from '../../adapters/fake/backend.ts';
import type { FakeBackend, FakeBackendOptions } from '../../adapters/fake/backend.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { Backend, KvPage, PrefillChunk } from '../../src/engine/backend.ts';
import { replayTrace, traceBackend } from '../../src/engine/trace.ts';
import type { TracedBackend, TraceEntry } from '../../src/engine/trace.ts';
import { forSeeds } from '../support/seeded-random.ts';
import type { SeededRandom } from '../support/seeded-random.ts';

const CONFIG = fakeModelConfig({ windowTokens: 9, maxPositions: 200 });
const IMAGE_PIXELS = 3 * 8 * 8;
const IMAGE_TOKENS = 4;
const IMAGE_FLOATS = IMAGE_TOKENS * CONFIG.text.hiddenSize;

function createFake(options: FakeBackendOptions = {}): FakeBackend {
  return createFakeBackend({ config: CONFIG, chunkTokens: 11, alignTokens: 4, ...options });
}

interface Session {
  readonly traced: TracedBackend;
  readonly entries: TraceEntry[];
}

function record(backend: Backend = createFake()): Session {
  const entries: TraceEntry[] = [];
  return { traced: traceBackend(backend, (entry) => entries.push(entry)), entries };
}

function chunk(row: number, start: number, tokens: readonly number[]): PrefillChunk {
  return { row, start, tokens: Int32Array.from(tokens), image: null, logits: 'last' };
}

function imageChunk(row: number, start: number, image: Float32Array): PrefillChunk {
  return { ...chunk(row, start, [8, 8, 8, 8]), image };
}

async function append(backend: Backend, row: number, tokens: readonly number[]): Promise<void> {
  for (let from = 0; from < tokens.length; from += 10) {
    const part = tokens.slice(from, from + 10);
    await backend.forward({ decode: [], chunk: chunk(row, backend.length(row), part) });
  }
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, at) => from + at);

/** A little of everything. */
async function recordSession(): Promise<Session> {
  const session = record();
  const { traced } = session;
  const pixels = Float32Array.from({ length: 2 * IMAGE_PIXELS }, (_, at) => Math.sin(at));
  const images = await traced.encodeImages(pixels, 2);
  // Callers may reuse their buffers.
  pixels.fill(0);
  await append(traced, 0, range(20, 50));
  const second = images.subarray(IMAGE_FLOATS);
  await traced.forward({ decode: [], chunk: imageChunk(0, 30, second) });
  const page = await traced.readKv(0, 0, 34);
  traced.copyRow(0, 1, 34);
  await traced.forward({
    decode: [
      { row: 0, start: 34, token: 60 },
      { row: 1, start: 34, token: 61 },
    ],
    chunk: imageChunk(2, 0, images.subarray(0, IMAGE_FLOATS)),
  });
  traced.swapRows(1, 3);
  expect(traced.truncate(3, 33)).toBe(33);
  await append(traced, 3, range(70, 100));
  expect(traced.truncate(3, 20)).toBe(0);
  await append(traced, 3, [20, 21]);
  await traced.writeKv(3, [page], 34, 2);
  await traced.forward({ decode: [{ row: 3, start: 34, token: 60 }], chunk: null });
  return session;
}

function inJson(entries: readonly TraceEntry[]): TraceEntry[] {
  return JSON.parse(JSON.stringify(entries)) as TraceEntry[];
}

describe('traces', () => {
  it('replay on a fresh backend to the bit, also from JSON', async () => {
    const { traced, entries } = await recordSession();
    const copied = inJson(entries);
    expect(copied).toEqual(entries);
    const forwards = entries.filter(({ type }) => type === 'forward').length;
    const fresh = createFake();
    const result = await replayTrace(copied, fresh, traced.pixels);
    expect(result).toEqual({ firstDifference: null, forwards });
    for (let row = 0; row < 4; row++) expect(fresh.length(row)).toBe(traced.length(row));
  });

  it('are small and say what was asked for and what became of it', async () => {
    const { entries } = await recordSession();
    expect(entries.map(({ type }) => type).join(' ')).toBe(
      'encode forward forward forward forward read copy forward swap truncate forward forward ' +
        'forward truncate forward write forward',
    );
    expect(entries[0]).toMatchObject({ type: 'encode', images: [0, 1] });
    expect(entries[4]).toMatchObject({ chunk: { row: 0, start: 30, image: 1 } });
    expect(entries[7]).toMatchObject({
      decode: [
        { row: 0, start: 34, token: 60 },
        { row: 1, start: 34, token: 61 },
      ],
      chunk: { row: 2, tokens: [8, 8, 8, 8], image: 0, logits: 'last' },
    });
    expect(entries[13]).toEqual({ type: 'truncate', row: 3, length: 20, kept: 0 });
    const write = { type: 'write', row: 3, pages: [0], foreign: [], length: 34, keep: 2 };
    expect(entries.at(-2)).toEqual(write);
    for (const entry of entries) expect(JSON.stringify(entry).length).toBeLessThan(250);
  });

  it('show where a replay goes another way: every changed token, image and move', async () => {
    const { traced, entries } = await recordSession();
    const swap = entries.findIndex(({ type }) => type === 'swap');
    const tampered = entries.flatMap((entry, index): [number, TraceEntry][] => {
      if (entry.type === 'forward' && entry.chunk !== null) {
        const { image } = entry.chunk;
        if (image !== null) {
          return [[index, { ...entry, chunk: { ...entry.chunk, image: image === 0 ? 1 : 0 } }]];
        }
        const tokens = entry.chunk.tokens.with(0, 9);
        return [[index, { ...entry, chunk: { ...entry.chunk, tokens } }]];
      }
      if (entry.type === 'forward') {
        const decode = entry.decode.map((one) => ({ ...one, token: 9 }));
        return [[index, { ...entry, decode }]];
      }
      return [];
    });
    expect(tampered.length).toBeGreaterThan(8);
    for (const [index, entry] of tampered) {
      const changed = entries.with(index, entry);
      const { firstDifference } = await replayTrace(changed, createFake(), traced.pixels);
      expect(firstDifference).toBe(index);
    }
    // The row that was to be cut lies elsewhere then.
    const unswapped = entries.toSpliced(swap, 1);
    await expect(replayTrace(unswapped, createFake(), traced.pixels)).rejects.toThrow(
      `entry ${swap} (truncate)`,
    );
    const pixels = new Map([...traced.pixels].map(([key, values]) => [key, values.map(() => 1)]));
    const { firstDifference } = await replayTrace(entries, createFake(), pixels);
    expect(entries[firstDifference ?? -1]).toMatchObject({ chunk: { image: 1 } });
  });

  it('refuse to replay where something is missing, and say at which entry', async () => {
    const { traced, entries } = await recordSession();
    const at = async (changed: readonly TraceEntry[], pixels = traced.pixels): Promise<unknown> =>
      replayTrace(changed, createFake(), pixels).then(
        () => null,
        (error: Error) => [error.message, (error.cause as Error).message],
      );
    expect(await at(entries, new Map())).toEqual([
      'entry 0 (encode) cannot be replayed',
      expect.stringContaining('pixels'),
    ]);
    const withoutRead = entries.filter(({ type }) => type !== 'read');
    expect(await at(withoutRead)).toEqual([
      expect.stringContaining('(write)'),
      expect.stringContaining('page 0'),
    ]);
    const cut: TraceEntry = { type: 'truncate', row: 0, length: 5, kept: 5 };
    expect(await at([...entries, cut])).toEqual([
      expect.stringContaining('(truncate)'),
      'kept 0 tokens, not 5',
    ]);
  });

  it('mark pages that come from elsewhere, and replay when given them', async () => {
    const other = createFake();
    await append(other, 0, range(20, 45));
    const pages: KvPage[] = [await other.readKv(0, 0, 20), await other.readKv(0, 20, 25)];
    const { traced, entries } = record();
    await traced.writeKv(1, pages, 25, 0);
    const own = await traced.readKv(1, 16, 25);
    await traced.writeKv(2, [pages[0] as KvPage, pages[1] as KvPage], 25, 0);
    await traced.writeKv(2, [own], 25, 16);
    await append(traced, 2, [50, 51]);
    const writes = entries.filter((entry) => entry.type === 'write');
    expect(writes.map((entry) => [entry.pages, entry.foreign])).toEqual([
      [
        [0, 1],
        [0, 1],
      ],
      [
        [0, 1],
        [0, 1],
      ],
      [[2], []],
    ]);
    await expect(replayTrace(entries, createFake(), traced.pixels)).rejects.toThrow('entry 0');
    const result = await replayTrace(
      inJson(entries),
      createFake(),
      traced.pixels,
      traced.foreignPages,
    );
    expect(result).toEqual({ firstDifference: null, forwards: 1 });
  });

  it('mark images that were encoded elsewhere', async () => {
    const { traced, entries } = record();
    const image = Float32Array.from({ length: IMAGE_FLOATS }, () => 0.5);
    await traced.forward({ decode: [], chunk: imageChunk(0, 0, image) });
    expect(entries[0]).toMatchObject({ chunk: { image: 'foreign' } });
    await expect(replayTrace(entries, createFake())).rejects.toThrow('entry 0 (forward)');
  });

  it('leave failed calls out, but not what a failed write did to its row', async () => {
    let isBroken = false;
    const fail = (): void => {
      if (isBroken) throw new Error('device lost');
    };
    const { traced, entries } = record(
      createFake({ beforeForward: fail, beforeKv: fail, beforeEncode: fail }),
    );
    await append(traced, 0, [20, 21]);
    const page = await traced.readKv(0, 0, 2);
    isBroken = true;
    const before = entries.length;
    await expect(append(traced, 0, [22])).rejects.toThrow('lost');
    await expect(traced.readKv(0, 0, 2)).rejects.toThrow('lost');
    await expect(traced.encodeImages(new Float32Array(IMAGE_PIXELS), 1)).rejects.toThrow('lost');
    await expect(traced.writeKv(1, [page], 2, 0)).rejects.toThrow('lost');
    expect(() => traced.copyRow(0, 1, 3)).toThrow(RangeError);
    expect(() => traced.truncate(0, 3)).toThrow(RangeError);
    expect(() => traced.swapRows(0, 9)).toThrow(RangeError);
    expect(entries.length).toBe(before);
    await expect(traced.writeKv(0, [page], 2, 0)).rejects.toThrow('lost');
    expect(entries.slice(before)).toEqual([{ type: 'truncate', row: 0, length: 0, kept: 0 }]);
    isBroken = false;
    await append(traced, 0, [23]);
    expect((await replayTrace(entries, createFake())).firstDifference).toBeNull();
  });

  it('keep equal pixels once and others apart', async () => {
    const { traced, entries } = record();
    const pixels = [0.25, 0.5, 0.25].map((value) => new Float32Array(IMAGE_PIXELS).fill(value));
    for (const one of pixels) await traced.encodeImages(one, 1);
    const keys = entries.map((entry) => (entry.type === 'encode' ? entry.pixels : null));
    expect(keys[0]).toBe(keys[2]);
    expect([...traced.pixels.keys()]).toEqual(keys.slice(0, 2));
    expect([...traced.pixels.values()]).toEqual(pixels.slice(0, 2));
  });

  it('change nothing of the backend they listen to', async () => {
    const backend = createFake();
    const { traced } = record(backend);
    const { rowCount, rowTokens, chunkTokens, kvTokenBytes } = backend;
    expect(traced).toMatchObject({ rowCount, rowTokens, chunkTokens, kvTokenBytes });
    expect(traced.config).toBe(CONFIG);
    const step = { decode: [], chunk: chunk(0, 0, [20, 21, 22]) };
    const logits = await traced.forward(step);
    expect(logits).toEqual(await createFake().forward(step));
    expect([traced.length(0), traced.canCut(0, 2)]).toEqual([3, true]);
    const signal = AbortSignal.abort(new Error('not needed'));
    const pixels = new Float32Array(IMAGE_PIXELS);
    await expect(traced.encodeImages(pixels, 1, signal)).rejects.toThrow('not needed');
    await traced.close();
    expect(() => backend.length(0)).toThrow('closed');
  });

  it('replay whatever was done, in any order', async () => {
    await forSeeds(60, async (random) => {
      const { traced, entries } = record();
      const pages: KvPage[] = [];
      for (let left = 60; left > 0; left--) await doSomething(random, traced, pages);
      const used = { pixels: traced.pixels, forwards: 0, firstDifference: null };
      used.forwards = entries.filter(({ type }) => type === 'forward').length;
      expect(used.forwards).toBeGreaterThan(10);
      const result = await replayTrace(inJson(entries), createFake(), used.pixels);
      expect(result).toEqual({ forwards: used.forwards, firstDifference: null });
    });
  });
});

async function doSomething(random: SeededRandom, backend: Backend, pages: KvPage[]): Promise<void> {
  const [row, other] = [random.integer(0, 3), random.integer(0, 3)];
  const length = backend.length(row);
  if (length > 150) {
    backend.truncate(row, 0);
    return;
  }
  const tokens = range(0, random.integer(1, 11)).map(() => random.integer(9, 99));
  switch (random.integer(0, 9)) {
    case 0: {
      const cut = random.integer(0, length);
      if (backend.canCut(row, cut)) backend.copyRow(row, other, cut);
      return;
    }
    case 1:
      backend.swapRows(row, other);
      return;
    case 2:
      backend.truncate(row, random.integer(0, length));
      return;
    case 3:
      if (length > 0) pages.push(await backend.readKv(row, 0, length));
      return;
    case 4: {
      if (pages.length === 0) return;
      const page = random.pick(pages);
      const keep = random.integer(0, Math.min(length, page.count));
      // Pages of which the row keeps nothing right, and pages with too little, are part of life.
      await backend.writeKv(row, [page], page.count - random.integer(0, 3), keep).catch(() => null);
      return;
    }
    case 5: {
      const pixels = new Float32Array(IMAGE_PIXELS).fill(random.integer(0, 3));
      const image = await backend.encodeImages(pixels, 1);
      await backend.forward({ decode: [], chunk: imageChunk(row, length, image) });
      return;
    }
    case 6: {
      const rows = [0, 1, 2, 3].filter((one) => backend.length(one) < 150);
      const decode = rows.map((one) => ({ row: one, start: backend.length(one), token: 30 }));
      await backend.forward({ decode, chunk: null });
      return;
    }
    default:
      await backend.forward({ decode: [], chunk: chunk(row, length, tokens) });
  }
}
