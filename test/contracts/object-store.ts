import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import type { ListedObject, ObjectStore } from '../../src/weights/object-store.ts';
import { rejectedBy } from '../support/thrown-by.ts';

/** A store under test, empty at first. */
export interface ObjectStoreSetup {
  readonly store: ObjectStore;
  /** Another store at the same place, as on another machine. */
  open(): ObjectStore;
  dispose(): Promise<void>;
}

const KEY = 'pages/one.bin';

/** Cases that every `ObjectStore` passes, beside those of an `ObjectSource`. */
export function describeObjectStore(name: string, make: () => Promise<ObjectStoreSetup>): void {
  describe(`${name} as an ObjectStore`, () => {
    let setup: ObjectStoreSetup;
    let store: ObjectStore;
    const opened: ObjectStore[] = [];
    beforeEach(async () => {
      setup = await make();
      store = setup.store;
    });
    afterEach(async () => {
      for (const each of [store, ...opened.splice(0)]) await each.close();
      await setup.dispose();
    });
    const openOther = (): ObjectStore => {
      const other = setup.open();
      opened.push(other);
      return other;
    };
    const keysOf = async (prefix: string): Promise<readonly string[]> =>
      (await collect(store.listPrefix(prefix))).map(({ key }) => key).toSorted();

    it.each([0, 1, 100_000])('gives back the %i bytes that were written', async (length) => {
      const bytes = pattern(length, 1);
      const written = await store.write(KEY, bytes);
      expect(written?.sizeBytes).toBe(length);
      expect(await store.head(KEY)).toEqual(written);
      expectBytes(await readWhole(store, KEY), bytes);
      const other = openOther();
      expect(await other.head(KEY)).toEqual(written);
      expectBytes(await readWhole(other, KEY), bytes);
    });

    it('writes a part of a larger buffer', async () => {
      await store.write(KEY, pattern(1000, 2).subarray(100, 200));
      expectBytes(await readWhole(store, KEY), pattern(1000, 2).subarray(100, 200));
    });

    it('reads what was written last, also after it has read what was there before', async () => {
      await store.write(KEY, pattern(5000, 1));
      expectBytes(await readWhole(store, KEY), pattern(5000, 1));
      const second = await store.write(KEY, pattern(300, 2));
      expect(second?.sizeBytes).toBe(300);
      expectBytes(await readWhole(store, KEY), pattern(300, 2));
      expectBytes(await readWhole(openOther(), KEY), pattern(300, 2));
    });

    it('leaves an object alone that is there when it must be absent', async () => {
      const first = await store.write(KEY, pattern(500, 1), { ifAbsent: true });
      expect(first?.sizeBytes).toBe(500);
      expect(await store.write(KEY, pattern(900, 2), { ifAbsent: true })).toBeNull();
      expect(await openOther().write(KEY, pattern(900, 3), { ifAbsent: true })).toBeNull();
      expectBytes(await readWhole(store, KEY), pattern(500, 1));
    });

    it('lets one of several writers create an object', async () => {
      const writers = Array.from({ length: 8 }, (_, i) => ({ store: openOther(), seed: i }));
      const results = await Promise.all(
        writers.map(({ store: writer, seed }) =>
          writer.write(KEY, pattern(20_000, seed), { ifAbsent: true }),
        ),
      );
      const winners = results.flatMap((result, seed) => (result === null ? [] : [seed]));
      expect(winners.length).toBe(1);
      expectBytes(await readWhole(store, KEY), pattern(20_000, winners[0] ?? 0));
    });

    it('shows readers the old object or the new one, never a mixture', async () => {
      await store.write(KEY, pattern(200_000, 0));
      const state = { isWriting: true };
      const writing = (async () => {
        for (let seed = 1; seed <= 20; seed++) await store.write(KEY, pattern(200_000, seed));
        state.isWriting = false;
      })();
      let reads = 0;
      while (state.isWriting || reads === 0) {
        const reader = setup.open();
        try {
          const bytes = await readWhole(reader, KEY);
          expectBytes(bytes, pattern(200_000, seedOf(bytes)));
          reads++;
        } catch (error) {
          // It changed between two requests of this reader.
          if (!ServeError.is(error) || !error.message.includes('changed')) throw error;
          reads++;
        } finally {
          await reader.close();
        }
      }
      await writing;
      expectBytes(await readWhole(openOther(), KEY), pattern(200_000, 20));
    });

    it('lists what begins with a prefix, in subfolders too', async () => {
      const keys = ['a.json', 'ab/c.bin', 'ab/d/e.bin', 'abc', 'b c/d+e.bin'];
      for (const key of keys) await store.write(key, pattern(key.length, 1));
      expect(await keysOf('')).toEqual(keys);
      expect(await keysOf('ab')).toEqual(['ab/c.bin', 'ab/d/e.bin', 'abc']);
      expect(await keysOf('ab/')).toEqual(['ab/c.bin', 'ab/d/e.bin']);
      expect(await keysOf('ab/d/e')).toEqual(['ab/d/e.bin']);
      expect(await keysOf('b c/')).toEqual(['b c/d+e.bin']);
      expect(await keysOf('none/')).toEqual([]);
      const sizes = await collect(store.listPrefix('ab/d/'));
      expect(sizes).toMatchObject([{ key: 'ab/d/e.bin', sizeBytes: 10 }]);
      // In milliseconds, not seconds: after September 2020.
      expect(sizes[0]?.modifiedMs).toBeGreaterThan(1.6e12);
    });

    it('lists many objects, each once', async () => {
      const keys = Array.from({ length: 37 }, (_, i) => `many/${String(i).padStart(3, '0')}`);
      await Promise.all(keys.map((key) => store.write(key, pattern(3, 1))));
      expect(await keysOf('many/')).toEqual(keys);
    });

    it('lists an empty store', async () => {
      expect(await collect(store.listPrefix(''))).toEqual([]);
    });

    it('removes an object, and takes an absent one for removed', async () => {
      await store.write(KEY, pattern(100, 1));
      await store.write('pages/two.bin', pattern(100, 1));
      await readWhole(store, KEY);
      await store.remove(KEY);
      await store.remove(KEY);
      await store.remove('nowhere/none.bin');
      expect(await store.head(KEY)).toBeNull();
      expect((await rejectedBy(readWhole(store, KEY, 100))).code).toBe('weights_unavailable');
      expect(await keysOf('')).toEqual(['pages/two.bin']);
      expect((await store.write(KEY, pattern(7, 2), { ifAbsent: true }))?.sizeBytes).toBe(7);
    });

    it.each([
      '../secret',
      'a/../../secret',
      '/etc/passwd',
      'a//b',
      '',
      'a/',
      'a\\..\\b',
      'a\u0000b',
    ])('never leaves its folder for %j', async (key) => {
      const fault = { code: 'invalid_checkpoint' };
      await expect(store.write(key, pattern(4, 1))).rejects.toMatchObject(fault);
      await expect(store.remove(key)).rejects.toMatchObject(fault);
      expect(await keysOf('')).toEqual([]);
    });

    it.each(['../', '/', 'a//', '../../etc', 'a\\'])('lists nothing for %j', async (prefix) => {
      await expect(collect(store.listPrefix(prefix))).rejects.toMatchObject({
        code: 'invalid_checkpoint',
      });
    });

    it('does nothing when already aborted, and rejects with the signal’s reason', async () => {
      await store.write(KEY, pattern(50, 1));
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      await expect(store.write(KEY, pattern(60, 2), { signal })).rejects.toBe(reason);
      await expect(store.write('new', pattern(60, 2), { signal })).rejects.toBe(reason);
      await expect(store.remove(KEY, signal)).rejects.toBe(reason);
      await expect(collect(store.listPrefix('', signal))).rejects.toBe(reason);
      expect(await keysOf('')).toEqual([KEY]);
      expectBytes(await readWhole(store, KEY), pattern(50, 1));
    });

    it('does nothing once it is closed', async () => {
      await store.close();
      await expect(store.write(KEY, pattern(4, 1))).rejects.toThrow('closed');
      await expect(store.remove(KEY)).rejects.toThrow('closed');
      await expect(collect(store.listPrefix(''))).rejects.toThrow('closed');
    });
  });
}

/** Bytes that tell the seed they were made of, here and there and as a whole. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) + seed * 7) & 255);
}

/** Quick where `toEqual` looks at each of many elements. */
function expectBytes(found: Uint8Array, expected: Uint8Array): void {
  expect(found.length).toBe(expected.length);
  expect(Buffer.compare(found, expected)).toBe(0);
}

/** The seed of a pattern: its first byte. */
function seedOf(bytes: Uint8Array): number {
  for (let seed = 0; seed < 256; seed++) if (((seed * 7) & 255) === bytes[0]) return seed;
  throw new Error('no pattern');
}

/** @param sizeBytes default: what the store says */
async function readWhole(
  source: ObjectSource,
  key: string,
  sizeBytes?: number,
): Promise<Uint8Array> {
  const size = sizeBytes ?? (await source.head(key))?.sizeBytes;
  if (size === undefined) throw new Error(`${key} is absent`);
  const target = new Uint8Array(size);
  // In pieces, so that a change between them can be seen.
  const piece = Math.max(1, Math.ceil(size / 4));
  for (let at = 0; at < size; at += piece) {
    await source.read(key, at, target.subarray(at, at + piece));
  }
  return target;
}

async function collect(objects: AsyncIterable<ListedObject>): Promise<readonly ListedObject[]> {
  const all: ListedObject[] = [];
  for await (const object of objects) all.push(object);
  return all;
}
