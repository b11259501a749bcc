import { describe, expect, it } from 'vitest';
import type { KvPage } from '../../../../src/engine/backend.ts';
import { createInt8Codec } from '../../../../src/engine/kv/store/int8-codec.ts';
import {
  createPageCodec,
  isRefused,
  PAGE_HEADER_BYTES,
} from '../../../../src/engine/kv/store/page-codec.ts';
import { createPageNamer, type PageName } from '../../../../src/engine/kv/store/page-names.ts';
import { contentWith } from '../../../support/page-harness.ts';
import { createSeededRandom, forSeeds, type SeededRandom } from '../../../support/seeded-random.ts';

const HEAD_DIM = 8;
/** Of one global layer with one head, and two local ones: keys and values. */
const KV_BYTES = { global: 2 * HEAD_DIM * 4, local: 4 * HEAD_DIM * 4 };
const FINGERPRINT = 'model/kind/int8';
const codec = createInt8Codec({
  fingerprint: FINGERPRINT,
  kvTokenBytes: KV_BYTES,
  headDim: HEAD_DIM,
});

const chain = await createPageNamer({ fingerprint: FINGERPRINT }).chain(
  contentWith([1, 2, 3, 4, 5, 6, 7, 8]),
  4,
  8,
);
const NAME = chain.full[1] as PageName;

/** Vectors of very different sizes, as keys and values are. */
function someFloats(random: SeededRandom, count: number): Float32Array {
  const floats = new Float32Array(count);
  for (let from = 0; from < count; from += HEAD_DIM) {
    const size = 10 ** random.integer(-6, 4);
    for (let at = from; at < from + HEAD_DIM; at++) {
      floats[at] = random.chance(0.1) ? 0 : (random.integer(-1000, 1000) / 1000) * size;
    }
  }
  return floats;
}

const bytesOf = (floats: Float32Array): Uint8Array => new Uint8Array(floats.slice().buffer);
const floatsOf = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.slice().buffer);

function pageWith(global: Float32Array, local: Float32Array): KvPage {
  const localTokens = (local.length * 4) / KV_BYTES.local;
  const localStart = 8 - localTokens;
  return { start: 4, count: 4, global: bytesOf(global), localStart, local: bytesOf(local) };
}

function somePage(random: SeededRandom, localTokens = random.integer(0, 4)): KvPage {
  const local = someFloats(random, (localTokens * KV_BYTES.local) / 4);
  return pageWith(someFloats(random, KV_BYTES.global), local);
}

async function decoded(bytes: Uint8Array): Promise<KvPage> {
  const page = await codec.decode(bytes, NAME);
  if (isRefused(page)) throw new Error(page.refusal);
  return page;
}

/** The largest difference, in parts of the largest value of its vector. */
function worstError(before: Uint8Array, after: Uint8Array): number {
  const [was, is] = [floatsOf(before), floatsOf(after)];
  expect(is.length).toBe(was.length);
  let worst = 0;
  for (let from = 0; from < was.length; from += HEAD_DIM) {
    const vector = was.subarray(from, from + HEAD_DIM);
    const largest = Math.max(...vector.map(Math.abs));
    for (const [at, value] of vector.entries()) {
      const error = Math.abs(value - (is[from + at] as number));
      worst = Math.max(worst, largest === 0 ? error : error / largest);
    }
  }
  return worst;
}

describe('int8 pages', () => {
  it('come back within 1/254 of the largest value of each vector, in 3/8 of the bytes', async () => {
    let worst = 0;
    await forSeeds(200, async (random) => {
      const page = somePage(random);
      const bytes = await codec.encode(page, NAME);
      // Here a scale is half as long as its eight codes; with 256 of them it is 1/64.
      const floatBytes = page.global.length + page.local.length;
      expect(bytes.length).toBe(PAGE_HEADER_BYTES + (floatBytes * 3) / 8);
      expect(codec.sizeOf(page)).toBe(bytes.length);
      const { global, local, ...place } = await decoded(bytes);
      expect(place).toEqual({ start: 4, count: 4, localStart: page.localStart });
      worst = Math.max(worst, worstError(page.global, global), worstError(page.local, local));
    });
    expect(worst).toBeLessThan(1.0001 / 254);
    expect(worst).toBeGreaterThan(0.99 / 254);
  });

  it('tells what a token takes of the object', () => {
    expect(codec.tokenBytes).toEqual({ global: 24, local: 48 });
    expect(codec.headBytes(4)).toBe(PAGE_HEADER_BYTES + 4 * 24);
  });

  it('are the same bytes for the same page, wherever it lies', async () => {
    await forSeeds(50, async (random) => {
      const page = somePage(random, 2);
      const bytes = await codec.encode(page, NAME);
      const moved = new Uint8Array(page.global.length + 3).subarray(3);
      moved.set(page.global);
      expect(await codec.encode({ ...page, global: moved }, NAME)).toEqual(bytes);
      const shifted = new Uint8Array(bytes.length + 1).subarray(1);
      shifted.set(bytes);
      expect(await decoded(shifted)).toEqual(await decoded(bytes));
    });
  });

  it('do not fade when they are written again and again', async () => {
    await forSeeds(50, async (random) => {
      const page = somePage(random, 4);
      const first = await decoded(await codec.encode(page, NAME));
      let again = first;
      for (let left = 50; left > 0; left--) again = await decoded(await codec.encode(again, NAME));
      expect(worstError(first.global, again.global)).toBeLessThan(1e-5);
      expect(worstError(first.local, again.local)).toBeLessThan(1e-5);
    });
  });

  it('take the smallest and the largest floats', async () => {
    const tiny = new Float32Array(KV_BYTES.global).fill(2 ** -149 * 190);
    const huge = new Float32Array(KV_BYTES.local / 4).fill(3e38);
    huge[0] = -0;
    const { global, local } = await decoded(await codec.encode(pageWith(tiny, huge), NAME));
    expect(Math.max(...floatsOf(global))).toBe(0);
    expect(worstError(bytesOf(huge), local)).toBeLessThan(1 / 254);
  });

  it.each([Number.NaN, Infinity, -Infinity])('are not made of %d', async (value) => {
    const floats = new Float32Array(KV_BYTES.global).fill(1);
    floats[13] = value;
    const page = pageWith(floats, new Float32Array(0));
    await expect(codec.encode(page, NAME)).rejects.toThrow('not finite');
  });

  it('are refused when shorter, or when a bit has changed', async () => {
    const random = createSeededRandom(7);
    const whole = await codec.encode(somePage(random, 3), NAME);
    const refusals = new Set<unknown>();
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const bytes = whole.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const page = await codec.decode(bytes, NAME);
      refusals.add(isRefused(page) ? page.refusal : 'none');
    }
    expect(refusals).toEqual(new Set(['damaged', 'format']));
    for (let length = 0; length < whole.length; length++) {
      expect(await codec.decode(whole.subarray(0, length), NAME)).toEqual({ refusal: 'truncated' });
    }
  });

  it('and exact pages refuse each other', async () => {
    const exact = createPageCodec({ fingerprint: 'model/kind', kvTokenBytes: KV_BYTES });
    const sameModel = createPageCodec({ fingerprint: FINGERPRINT, kvTokenBytes: KV_BYTES });
    await forSeeds(20, async (random) => {
      const page = somePage(random, 4);
      const [as8, as32] = [await codec.encode(page, NAME), await exact.encode(page, NAME)];
      expect(await exact.decode(as8, NAME)).toEqual({ refusal: 'foreign' });
      expect(await codec.decode(as32, NAME)).toEqual({ refusal: 'foreign' });
      // Even under one fingerprint, which they never have.
      expect(await sameModel.decode(as8, NAME)).toEqual({ refusal: 'foreign' });
    });
  });

  it('are of whole vectors', async () => {
    const options = { fingerprint: FINGERPRINT, kvTokenBytes: KV_BYTES };
    expect(() => createInt8Codec({ ...options, headDim: 7 })).toThrow('not whole vectors');
    const random = createSeededRandom(8);
    const page = { ...somePage(random), global: new Uint8Array(HEAD_DIM * 4 + 1) };
    await expect(codec.encode(page, NAME)).rejects.toThrow(RangeError);
    const short = { ...somePage(random), global: new Uint8Array(HEAD_DIM * 4) };
    await expect(codec.encode(short, NAME)).rejects.toThrow(RangeError);
  });
});
