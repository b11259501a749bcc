import { sha256Hex, type Sha256 } from '../../../../lib/sha256-hex.ts';
import type { Clock } from '../../../../lib/clock.ts';
import { runBounded } from '../../../../lib/run-bounded.ts';
import type { ObjectStore } from '../../../../weights/object-store.ts';
import { PAGE_PREFIX } from '../page-names.ts';
import { listPages, readUses, type StoredPage } from './page-inventory.ts';
import { dayOf } from './use-book.ts';

export interface PageCollectorOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** Whole days without use after which a page may go, 1 at least. */
  readonly keepDays: number;
  /**
   * Milliseconds between condemning a page and removing it: longer than uses take to get into a
   * book. Default an hour.
   */
  readonly graceMs?: number;
  /** Removals of one sweep; default 10,000. */
  readonly maxRemovals?: number;
  /** Pages one sweep can hold in mind, about 300 bytes each; default 1,000,000. */
  readonly maxPages?: number;
  /** Requests at once; default 8. */
  readonly inFlight?: number;
  /** Pages that stay whatever their age, with all before them: names of sessions' last pages. */
  readonly isReferenced?: (name: string) => boolean;
  readonly sha256?: Sha256;
}

export interface SweepReport {
  readonly pages: number;
  /** Kept for a use, a reference, or a page behind them. */
  readonly kept: number;
  /** To go in a later sweep, unless they are used before. */
  readonly condemned: number;
  readonly removed: number;
  readonly removedBytes: number;
  readonly booksRemoved: number;
  /** There are more pages than fit in mind: nothing was removed. Sweep a longer prefix. */
  readonly isTooLarge: boolean;
}

/**
 * Removes pages, and ids of answers, that nobody used for days. Two sweeps condemn a page, the second one removes it: what
 * was written or used meanwhile is in a book by then. A page before one that stays, stays.
 */
export interface PageCollector {
  /**
   * @param prefix of page keys, `kv/` by default; a model's folder and first digits of scopes split the
   *   work, since chains never leave a scope
   * @throws ServeError weights_unavailable: nothing is removed while a book cannot be read; the
   * signal's reason
   */
  sweep(prefix?: string, signal?: AbortSignal): Promise<SweepReport>;
}

const CONDEMNED_PREFIX = 'kv-condemned/';
const DEFAULT_GRACE_MS = 3_600_000;
const DEFAULT_MAX_REMOVALS = 10_000;
const DEFAULT_MAX_PAGES = 1_000_000;
const DEFAULT_IN_FLIGHT = 8;

export function createPageCollector(options: PageCollectorOptions): PageCollector {
  const { store, clock, keepDays } = options;
  if (!Number.isInteger(keepDays) || keepDays < 1) {
    throw new RangeError(`keepDays must be a whole number from 1 on, not ${keepDays}`);
  }
  const graceMs = options.graceMs ?? DEFAULT_GRACE_MS;
  const maxRemovals = options.maxRemovals ?? DEFAULT_MAX_REMOVALS;
  const maxPages = options.maxPages ?? DEFAULT_MAX_PAGES;
  const inFlight = options.inFlight ?? DEFAULT_IN_FLIGHT;
  const isReferenced = options.isReferenced ?? ((): boolean => false);
  const sha256 = options.sha256 ?? sha256Hex;

  /** What stays, and all before it. */
  function keptOf(
    pages: ReadonlyMap<string, StoredPage>,
    used: ReadonlyMap<string, number>,
  ): ReadonlySet<string> {
    const kept = new Set<string>();
    for (const name of pages.keys()) {
      if (!used.has(name) && !isReferenced(name)) continue;
      for (let at: string | null = name; at !== null && !kept.has(at);) {
        const page: StoredPage | undefined = pages.get(at);
        if (page === undefined) break;
        kept.add(at);
        at = page.parent;
      }
    }
    return kept;
  }

  /** Names that an earlier sweep has condemned long enough ago; null while that is too early to say. */
  async function readCondemned(
    key: string,
    signal?: AbortSignal,
  ): Promise<ReadonlySet<string> | null> {
    const info = await store.head(key, signal);
    if (info === null) return new Set();
    const bytes = new Uint8Array(info.sizeBytes);
    await store.read(key, 0, bytes, signal);
    const [condemnedMs, ...names] = new TextDecoder().decode(bytes).split('\n');
    return Number(condemnedMs) + graceMs > clock.now() ? null : new Set(names);
  }

  async function removeAll(keys: readonly string[], signal?: AbortSignal): Promise<void> {
    const remove = async (index: number, each: AbortSignal): Promise<void> => {
      const key = keys[index];
      if (key !== undefined) await store.remove(key, each);
    };
    await runBounded(keys.length, inFlight, remove, signal);
  }

  return {
    async sweep(prefix = PAGE_PREFIX, signal) {
      // Books after pages: a page that is listed and used meanwhile is in a book that is read.
      const { pages, others } = await listPages(store, prefix, maxPages, signal);
      const { usedMs, oldBooks } = await readUses(store, dayOf(clock.now()) - keepDays, signal);
      if (others.length > 0) {
        const nothing = { kept: 0, condemned: 0, removed: 0, removedBytes: 0, booksRemoved: 0 };
        return { pages: maxPages, ...nothing, isTooLarge: true };
      }
      const kept = keptOf(pages, usedMs);
      const unused = [...pages].filter(([name]) => !kept.has(name));
      const hash = await sha256(new TextEncoder().encode(prefix));
      const listKey = `${CONDEMNED_PREFIX}${hash}`;
      const condemned = await readCondemned(listKey, signal);
      const going = unused.filter(([name]) => condemned?.has(name) === true).slice(0, maxRemovals);
      await removeAll(
        going.map(([, { key }]) => key),
        signal,
      );
      await removeAll(oldBooks.slice(0, maxRemovals), signal);
      const gone = new Set(going.map(([name]) => name));
      const left = unused.filter(([name]) => !gone.has(name)).map(([name]) => name);
      if (condemned !== null) {
        const body = new TextEncoder().encode([String(clock.now()), ...left].join('\n'));
        await store.write(listKey, body, signal === undefined ? {} : { signal });
      }
      return {
        pages: pages.size,
        kept: kept.size,
        condemned: left.length,
        removed: going.length,
        removedBytes: going.reduce((sum, [, { sizeBytes }]) => sum + sizeBytes, 0),
        booksRemoved: Math.min(oldBooks.length, maxRemovals),
        isTooLarge: false,
      };
    },
  };
}
