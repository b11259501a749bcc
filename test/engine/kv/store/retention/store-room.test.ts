import { describe, expect, it } from 'vitest';
import { createPageNamer } from '../../../../../src/engine/kv/store/page-names.ts';
import { createStoreRoom } from '../../../../../src/engine/kv/store/retention/store-room.ts';
import { createUseBook } from '../../../../../src/engine/kv/store/retention/use-book.ts';
import { createFakeClock } from '../../../../support/fake-clock.ts';
import { contentWith } from '../../../../support/page-harness.ts';
import { memoryStore, type MemoryStore } from '../../../../support/memory-store.ts';

const KIB = 1024;
const PAGE_BYTES = 100 * KIB;
const SIGNAL = new AbortController().signal;

async function keyOf(number: number, scope: string): Promise<string> {
  const content = contentWith([number, number, number, number], scope);
  return (await createPageNamer({ fingerprint: 'model' }).chain(content, 4, 4)).full[0]?.key ?? '';
}

function openRoom(store: MemoryStore, maxBytes: number, maxPages?: number) {
  const clock = createFakeClock();
  const uses = createUseBook({ store, clock, instance: 'one' });
  const evicted: string[] = [];
  const room = createStoreRoom({
    store,
    clock,
    uses,
    maxBytes,
    ...(maxPages === undefined ? {} : { maxPages }),
    onEvicted: (keys) => void evicted.push(...keys),
  });
  const put = async (number: number, scope = '', sizeBytes = PAGE_BYTES): Promise<boolean> => {
    const key = await keyOf(number, scope);
    const write = () => store.write(key, new Uint8Array(sizeBytes));
    return (await room.within(sizeBytes, write, SIGNAL)) !== null;
  };
  return { room, uses, evicted, put };
}

function bytesIn(store: MemoryStore): number {
  let bytes = 0;
  for (const [key, { length }] of store.objects) if (key.startsWith('kv/')) bytes += length;
  return bytes;
}

describe('room in a store', () => {
  it('is made before each write, and known', async () => {
    const store = memoryStore();
    const { room, put, evicted } = openRoom(store, 10 * PAGE_BYTES);
    expect(room.stats()).toMatchObject({ storedBytes: null, evictedPages: 0 });
    for (let number = 0; number < 50; number++) {
      expect(await put(number)).toBe(true);
      expect(bytesIn(store)).toBeLessThanOrEqual(10 * PAGE_BYTES);
    }
    expect(room.stats().storedBytes).toBe(bytesIn(store));
    expect(room.stats().evictedPages).toBe(evicted.length);
    expect(evicted).toHaveLength(50 - bytesIn(store) / PAGE_BYTES);
  });

  it('is made by several writers at once, too', async () => {
    const store = memoryStore();
    const { put } = openRoom(store, 10 * PAGE_BYTES);
    await Promise.all(Array.from({ length: 60 }, (_, number) => put(number)));
    expect(bytesIn(store)).toBeLessThanOrEqual(10 * PAGE_BYTES);
    expect(bytesIn(store)).toBeGreaterThan(0);
  });

  it('is not made for what would push out nearly everything', async () => {
    const store = memoryStore();
    const { put } = openRoom(store, 10 * PAGE_BYTES);
    await put(1);
    expect(await put(2, '', 10 * PAGE_BYTES)).toBe(false);
    expect(bytesIn(store)).toBe(PAGE_BYTES);
  });

  it('is looked at again as others write, and is made true by a review', async () => {
    const store = memoryStore();
    const processes = [openRoom(store, 20 * PAGE_BYTES), openRoom(store, 20 * PAGE_BYTES)];
    for (let number = 0; number < 100; number++) {
      for (const [index, { put }] of processes.entries()) await put(number, `tenant ${index}`);
      // A look after each twentieth: in between each process may miss one of the other's.
      expect(bytesIn(store)).toBeLessThanOrEqual(22 * PAGE_BYTES);
    }
    for (let number = 0; number < 30; number++) {
      await store.write(await keyOf(number, 'another'), new Uint8Array(PAGE_BYTES));
    }
    await processes[0]?.room.review();
    expect(bytesIn(store)).toBeLessThanOrEqual(20 * PAGE_BYTES);
  });

  it('goes to what was used last', async () => {
    const store = memoryStore();
    const { put, uses } = openRoom(store, 10 * PAGE_BYTES);
    const modified = new Map<string, number>();
    store.listPrefix = async function* list(prefix) {
      for (const [key, { length: sizeBytes }] of store.objects) {
        const modifiedMs = modified.get(key) ?? Number.MAX_SAFE_INTEGER;
        if (key.startsWith(prefix)) yield { key, sizeBytes, modifiedMs };
      }
    };
    for (let number = 0; number < 10; number++) {
      await put(number);
      modified.set(await keyOf(number, ''), number);
    }
    uses.use(await keyOf(0, ''));
    await put(10);
    expect(store.objects.has(await keyOf(0, ''))).toBe(true);
    expect(store.objects.has(await keyOf(1, ''))).toBe(false);
    expect(store.objects.has(await keyOf(9, ''))).toBe(true);
  });

  it('is found where there are more objects than can be overlooked', async () => {
    const store = memoryStore();
    const { put } = openRoom(store, 4096 * KIB, 100);
    for (let number = 0; number < 300; number++) await put(number, '', 10);
    const small = [...store.objects.keys()].filter((key) => key.startsWith('kv/'));
    // Checked after each twentieth of the size: 51 objects of one block each.
    expect(small.length).toBeLessThanOrEqual(160);
  });

  it('is no reason to lose a write where the store fails to list: it fails like the write', async () => {
    const store = memoryStore();
    const { put } = openRoom(store, 10 * PAGE_BYTES);
    store.listPrefix = () => {
      throw new Error('no list today');
    };
    await expect(put(1)).rejects.toThrow('no list today');
    expect(bytesIn(store)).toBe(0);
  });
});
