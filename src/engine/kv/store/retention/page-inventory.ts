import type { ObjectStore } from '../../../../weights/object-store.ts';
import { parseStoredKey, type StoredKey } from './stored-key.ts';
import { BOOK_PREFIX, endOfDay, parseBookKey, readKeys } from './use-book.ts';

/** A page, or the ids of an answer, as a listing tells of it. */
export interface StoredPage extends StoredKey {
  readonly key: string;
  readonly sizeBytes: number;
  /** null: not told. */
  readonly modifiedMs: number | null;
}

export interface PageInventory {
  /** By name. */
  readonly pages: ReadonlyMap<string, StoredPage>;
  /** Sizes of those that were more than fit in mind. */
  readonly others: readonly number[];
}

/** @throws ServeError weights_unavailable; the signal's reason */
export async function listPages(
  store: ObjectStore,
  prefix: string,
  maxPages: number,
  signal?: AbortSignal,
): Promise<PageInventory> {
  const pages = new Map<string, StoredPage>();
  const others: number[] = [];
  for await (const { key, sizeBytes, modifiedMs = null } of store.listPrefix(prefix, signal)) {
    const parts = parseStoredKey(key);
    if (parts === null) continue;
    if (pages.size >= maxPages) {
      others.push(sizeBytes);
      continue;
    }
    const { tenant, parent, name } = parts;
    pages.set(name, { key, tenant, parent, name, sizeBytes, modifiedMs });
  }
  return { pages, others };
}

export interface PageUses {
  /** When pages were used last, by name: milliseconds since 1970, not before the use. */
  readonly usedMs: ReadonlyMap<string, number>;
  /** Keys of books of days before `oldestDay`. */
  readonly oldBooks: readonly string[];
}

/**
 * What the books since a day list, and the page before each: the listed one may be lost.
 * @throws ServeError weights_unavailable; the signal's reason
 */
export async function readUses(
  store: ObjectStore,
  oldestDay: number,
  signal?: AbortSignal,
): Promise<PageUses> {
  const usedMs = new Map<string, number>();
  const oldBooks: string[] = [];
  const use = (name: string | null, atMs: number): void => {
    if (name !== null) usedMs.set(name, Math.max(usedMs.get(name) ?? 0, atMs));
  };
  for await (const { key, sizeBytes, modifiedMs } of store.listPrefix(BOOK_PREFIX, signal)) {
    const book = parseBookKey(key, sizeBytes);
    if (book === null) continue;
    if (book.day < oldestDay) {
      oldBooks.push(key);
      continue;
    }
    const atMs = modifiedMs ?? endOfDay(book.day);
    for (const each of await readKeys(store, key, sizeBytes, signal)) {
      const parts = parseStoredKey(each);
      use(parts?.name ?? null, atMs);
      use(parts?.parent ?? null, atMs);
    }
  }
  return { usedMs, oldBooks };
}
