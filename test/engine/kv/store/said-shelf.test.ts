import { describe, expect, it } from 'vitest';
import type { KvStore } from '../../../../src/engine/kv/kv-store.ts';
import { createObjectKvStore } from '../../../../src/engine/kv/store/object-kv-store.ts';
import { createPageCollector } from '../../../../src/engine/kv/store/retention/page-gc.ts';
import { createPageNamer } from '../../../../src/engine/kv/store/page-names.ts';
import { createSaidCodec } from '../../../../src/engine/kv/store/said-object.ts';
import { memoryStore } from '../../../support/memory-store.ts';

const DAY_MS = 86_400_000;
const IDS = Int32Array.of(7, 300, 262_143);
const SAID = ['first', 'second'].map((key) => ({ key, ids: IDS }));
const CONTENT = {
  scope: 'a',
  words: Int32Array.of(1, 2),
  images: [],
  said: SAID.map(({ key }) => key),
};

type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>;

/** Deadlines that never come. */
const never: Sleep = () => new Promise(() => undefined);

function open(store = memoryStore(), now = 0, sleep = never, fingerprint = 'model'): KvStore {
  return createObjectKvStore({
    store,
    fingerprint,
    kvTokenBytes: { global: 8, local: 8 },
    windowTokens: 3,
    tokensPerImage: 0,
    pageTokens: 4,
    clock: { now: () => now, sleep },
    instance: `at-${now}`,
  });
}

/** The ids that come back, or null. */
async function ask(kv: KvStore, key: string, scope = 'a', maxIds = 9): Promise<unknown> {
  let got: readonly number[] | null = null;
  const take = (ids: Int32Array): boolean => {
    got = Array.from(ids);
    return key !== 'second';
  };
  await kv.fetchSaid(scope, [{ key, maxIds, take }], 1000, 100);
  return got;
}

describe('ids of an answer as an object', () => {
  it('are refused whichever bit differs, however they are cut, and under another name', async () => {
    const namer = createPageNamer({ fingerprint: 'm' });
    const codec = createSaidCodec({ namer, fingerprint: 'm' });
    const name = await codec.nameOf('a', 'first');
    const bytes = await codec.encode(IDS, name);
    expect(await codec.decode(bytes, name)).toEqual(IDS);
    expect(await codec.encode(IDS, name)).toEqual(bytes);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(await codec.decode(flipped, name)).toHaveProperty('refusal');
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(await codec.decode(bytes.slice(0, length), name)).toHaveProperty('refusal');
    }
    expect(await codec.decode(Uint8Array.of(...bytes, 0), name)).toEqual({ refusal: 'damaged' });
    for (const other of [await codec.nameOf('b', 'first'), await codec.nameOf('a', 'second')]) {
      expect(other.key).not.toBe(name.key);
      expect(await codec.decode(bytes, other)).toEqual({ refusal: 'damaged' });
    }
  });
});

describe('ids of answers in a store', () => {
  it('come back to whom they belong, and go when they are forgotten', async () => {
    const store = memoryStore();
    const kv = open(store);
    kv.keep(CONTENT, [], SAID);
    await kv.flush();
    expect(kv.stats()).toMatchObject({ queuedBytes: 0, writtenPages: 0, droppedPages: 0 });
    expect(await ask(kv, 'first')).toEqual(Array.from(IDS));
    expect(await ask(kv, 'first', 'b')).toBeNull();
    expect(await ask(kv, 'third')).toBeNull();
    expect(await ask(open(store, 0, never, 'other model'), 'first')).toBeNull();
    const fork = { ...CONTENT, said: ['first'] };
    await kv.forget(CONTENT, [fork]);
    expect(await ask(kv, 'first')).not.toBeNull();
    expect(await ask(kv, 'second')).toBeNull();
    await kv.forget(fork, []);
    expect([...store.objects.keys()].filter((key) => key.startsWith('kv/'))).toEqual([]);
  });

  it('are refused and written anew where they are too many or not what is wanted', async () => {
    const store = memoryStore();
    const kv = open(store);
    kv.keep(CONTENT, [], SAID);
    await kv.flush();
    const written = store.writes.filter((key) => key.startsWith('kv/')).length;
    expect(await ask(kv, 'first', 'a', IDS.length - 1)).toBeNull();
    await ask(kv, 'second');
    expect(kv.stats().refused).toEqual({ 'other content': 2 });
    kv.keep(CONTENT, [], SAID);
    await kv.flush();
    expect(store.writes.filter((key) => key.startsWith('kv/'))).toHaveLength(written + 2);
    kv.keep(CONTENT, [], SAID);
    await kv.flush();
    expect(store.writes.filter((key) => key.startsWith('kv/'))).toHaveLength(written + 2);
  });

  it('are not waited for where the store hangs', async () => {
    const store = memoryStore();
    store.head = () => new Promise(() => undefined);
    const sleeps: number[] = [];
    const kv = open(store, 0, async (ms) => void sleeps.push(ms));
    expect(await ask(kv, 'first')).toBeNull();
    // Part of the 10 s that computing would take.
    expect(sleeps).toEqual([3000]);
  });

  it('go with time unless they are used', async () => {
    const store = memoryStore();
    const kv = open(store);
    kv.keep(CONTENT, [], SAID);
    await kv.flush();
    const sweep = (day: number, graceMs = 0): ReturnType<typeof collector.sweep> => {
      const clock = { now: () => day * DAY_MS, sleep: never };
      const collector = createPageCollector({ store, clock, keepDays: 2, graceMs });
      return collector.sweep();
    };
    expect(await sweep(1)).toMatchObject({ pages: 2, kept: 2 });
    const later = open(store, 2 * DAY_MS);
    await ask(later, 'first');
    await later.flush();
    expect(await sweep(4)).toMatchObject({ pages: 2, kept: 1, condemned: 1, removed: 0 });
    expect(await sweep(4)).toMatchObject({ removed: 1 });
    expect(await ask(open(store), 'first')).not.toBeNull();
    expect(await ask(open(store), 'second')).toBeNull();
  });
});
