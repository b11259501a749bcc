import { describe, expect, it } from 'vitest';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { contentWith, createPageHarness, pageOf } from '../../../support/page-harness.ts';
import { createSeededRandom } from '../../../support/seeded-random.ts';

const SHAPE = { pageTokens: 4, windowTokens: 6 };
const WORDS = Array.from({ length: 30 }, (_, index) => index + 100);
const CONTENT = contentWith(WORDS, 'tenant');
const ALL = { content: CONTENT, from: 0, limit: 30 };

async function turns(count = 100): Promise<void> {
  for (let left = count; left > 0; left--) await new Promise((resolve) => setImmediate(resolve));
}

/** Hashes are made in other threads: turns alone do not tell when. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turns(1);
}

/** What a fetch of [from, length) gives: whole pages where the window is, global parts before. */
function expectedPages(from: number, end: number, length: number): unknown[] {
  const pages = [];
  for (let start = from; start < length; start += 4) {
    const count = Math.min(4, end - start);
    const isWhole = start + count > length - SHAPE.windowTokens + 1;
    pages.push(pageOf(CONTENT, start, count, isWhole ? start : start + count));
  }
  return pages;
}

describe('page reader', () => {
  it('brings back full pages and the partial one, with local parts for the window only', async () => {
    const { save, fetch } = createPageHarness(SHAPE);
    await save(CONTENT, 27);
    const fetched = await fetch(ALL);
    expect(fetched).toMatchObject({ length: 27, refused: [] });
    expect(fetched.pages).toEqual(expectedPages(0, 27, 27));
    expect(fetched.bytes).toBe(7 * 256 + 27 * 3 + 7 * 5);
  });

  it('fetches nothing that is there or of no use', async () => {
    const { save, fetch, store } = createPageHarness(SHAPE);
    await save(CONTENT, 28);
    const fetched = await fetch({ content: CONTENT, from: 8, limit: 15 });
    expect(fetched.length).toBe(15);
    expect(fetched.pages).toEqual(expectedPages(8, 28, 15));
    expect(store.reads.filter(({ length }) => length > 256)).toHaveLength(2);
  });

  it('takes the longest partial page that is a start of the content', async () => {
    const { save, fetch } = createPageHarness(SHAPE);
    for (const length of [5, 6, 7]) await save(CONTENT, length);
    await save(contentWith([...WORDS.slice(0, 6), 1], 'tenant'), 7);
    const other = contentWith([...WORDS.slice(0, 6), 2, 3, 4, 5], 'tenant');
    expect((await fetch({ ...ALL, content: other })).length).toBe(6);
    expect((await fetch({ ...ALL, limit: 7 })).length).toBe(7);
    expect((await fetch({ ...ALL, limit: 6 })).pages.at(-1)?.count).toBe(2);
  });

  it('ends where no image is cut, and has the window there', async () => {
    const { save, fetch } = createPageHarness(SHAPE);
    await save(CONTENT, 28);
    const fetched = await fetch({ ...ALL, cut: (length) => Math.min(length, 17) });
    expect(fetched.length).toBe(17);
    expect(fetched.pages).toEqual(expectedPages(0, 28, 17));
  });

  it('finds nothing of another scope or of another model', async () => {
    const { save, fetch, store } = createPageHarness(SHAPE);
    await save(CONTENT, 28);
    const nothing = { pages: [], length: 0, bytes: 0, refused: [] };
    expect(await fetch({ ...ALL, content: { ...CONTENT, scope: '' } })).toMatchObject(nothing);
    const foreign = createPageHarness({ ...SHAPE, store, fingerprint: 'another' });
    expect(await foreign.fetch(ALL)).toMatchObject(nothing);
  });

  it('never shares between images whose hashes begin alike', async () => {
    const { save, fetch } = createPageHarness(SHAPE);
    const words = [1, 2, -9, -9, -9, -9, 3, 4, 5, 6, 7, 8];
    const withImage = (sha256: string): typeof CONTENT =>
      contentWith(words, '', [{ position: 2, sha256 }]);
    await save(withImage('9'.repeat(64)), 12);
    const request = { from: 0, limit: 12, content: withImage(`${'9'.repeat(63)}8`) };
    expect((await fetch(request)).length).toBe(0);
    expect((await fetch({ ...request, content: withImage('9'.repeat(64)) })).length).toBe(12);
  });

  it('refuses a page put in the place of another, one of an older version, and says why', async () => {
    const { save, fetch, store, namesOf } = createPageHarness(SHAPE);
    await save(CONTENT, 28);
    const keys = (await namesOf(CONTENT, 28)).map(({ key }) => key);
    const bytesOf = (index: number): Uint8Array =>
      store.objects.get(keys[index] ?? '') as Uint8Array;
    store.objects.set(keys[6] ?? '', bytesOf(5));
    expect(await fetch(ALL)).toMatchObject({
      length: 24,
      refused: [{ key: keys[6], reason: 'other content' }],
    });
    bytesOf(3)[8] = 0;
    expect(await fetch({ ...ALL, limit: 16 })).toMatchObject({
      length: 12,
      refused: [{ key: keys[3], reason: 'format' }],
    });
    store.objects.set(keys[1] ?? '', bytesOf(1).subarray(0, 260));
    expect(await fetch({ ...ALL, limit: 8 })).toMatchObject({
      length: 4,
      refused: [{ key: keys[1], reason: 'truncated' }],
    });
  });

  it('falls back to a partial page where the full one is bad', async () => {
    const { save, fetch, store, namesOf } = createPageHarness(SHAPE);
    await save(CONTENT, 14);
    await save(CONTENT, 15);
    await save(CONTENT, 28);
    const key = (await namesOf(CONTENT, 28))[3]?.key ?? '';
    const bytes = store.objects.get(key) as Uint8Array;
    bytes[260] = 255 - (bytes[260] ?? 0);
    const fetched = await fetch(ALL);
    expect(fetched).toMatchObject({ length: 15, refused: [{ key, reason: 'damaged' }] });
    // The local part before the bad page was fetched for the restore that ends there.
    expect(fetched.pages.slice(2)).toEqual(expectedPages(0, 15, 15).slice(2));
  });

  it('counts at its deadline what is there', async () => {
    const clock = createFakeClock();
    const { save, reader, store, namesOf } = createPageHarness({ ...SHAPE, clock, inFlight: 8 });
    await save(CONTENT, 28);
    const late = (await namesOf(CONTENT, 28))[4]?.key ?? '';
    const found = await reader.find(ALL);
    store.isHeld = (key): boolean => key === late;
    const fetching = reader.fetch(found, 1000);
    // Six starts, two local parts of the window, and the late one waits.
    await until(() => store.reads.length === 8 && store.running === 1);
    await turns(1000);
    clock.advance(750);
    const fetched = await fetching;
    expect(fetched).toMatchObject({ length: 16, refused: [{ key: late, reason: 'late' }] });
    expect(fetched.pages).toEqual(expectedPages(0, 28, 16));
    store.isHeld = (): boolean => true;
    const finding = reader.find(ALL, 100);
    await until(() => clock.sleeping() > 0);
    clock.advance(100);
    expect(await finding).toMatchObject({ names: [], length: 0 });
    const none = reader.fetch(found, 100);
    await until(() => clock.sleeping() > 0);
    clock.advance(100);
    expect(await none).toMatchObject({ pages: [], length: 0 });
    await turns(10);
    expect(store.running + clock.sleeping()).toBe(0);
  });

  it.each([0, 1, 3, 9, 25])(
    'leaves nothing running when it is aborted after %i turns',
    async (after) => {
      const random = createSeededRandom(after);
      const { save, fetch, store } = createPageHarness({ ...SHAPE, random, inFlight: 2 });
      await save(CONTENT, 28);
      store.isHeld = (): boolean => after > 5;
      const gone = new AbortController();
      const fetching = fetch(ALL, undefined, gone.signal);
      await turns(after);
      gone.abort(new Error('gone'));
      await expect(fetching).rejects.toThrow('gone');
      await turns(10);
      expect(store.running).toBe(0);
    },
  );

  it('survives a store that fails every request', async () => {
    const { save, fetch, store } = createPageHarness(SHAPE);
    await save(CONTENT, 28);
    store.onRead = (): never => {
      throw new Error('broken');
    };
    const fetched = await fetch(ALL);
    expect(fetched).toMatchObject({ pages: [], length: 0 });
    expect(new Set(fetched.refused.map(({ reason }) => reason))).toEqual(new Set(['unreadable']));
    store.head = () => Promise.reject(new Error('broken'));
    store.listPrefix = (): never => {
      throw new Error('broken');
    };
    expect(await fetch(ALL)).toMatchObject({ pages: [], length: 0, refused: [] });
  });
});
