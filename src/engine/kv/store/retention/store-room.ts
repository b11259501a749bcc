import type { Clock } from '../../../../lib/clock.ts';
import { runBounded } from '../../../../lib/run-bounded.ts';
import type { ObjectStore } from '../../../../weights/object-store.ts';
import { PAGE_PREFIX } from '../page-names.ts';
import { chargeOf, fairEvictions } from './fair-eviction.ts';
import { listPages, readUses, type StoredPage } from './page-inventory.ts';
import type { UseBook } from './use-book.ts';

export interface StoreRoomOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly uses: UseBook;
  /** Bytes that all pages and answers may take, each counted as 4 KiB at least; may be Infinity. */
  readonly maxBytes: number;
  /** Pages one review can hold in mind, about 300 bytes each; default 1,000,000. */
  readonly maxPages?: number;
  /** Hears of pages that are gone; must not throw. */
  readonly onEvicted?: (keys: readonly string[]) => void;
}

/** Keeps what lies in a store within its size. Several processes each know what they wrote themselves. */
export interface StoreRoom {
  /**
   * Runs a write once there is room for it, which it makes by removing other pages.
   * @returns null when there cannot be room
   * @throws what the store fails with; the signal's reason
   */
  within<T>(sizeBytes: number, write: () => Promise<T>, signal: AbortSignal): Promise<T | null>;
  /** Looks how much is there, also of what others wrote, and removes what is too much. */
  review(signal?: AbortSignal): Promise<void>;
  stats(): StoreRoomStats;
}

export interface StoreRoomStats {
  /** As far as this process knows; null before it has looked. */
  readonly storedBytes: number | null;
  readonly maxBytes: number;
  readonly evictedPages: number;
}

/** Of the size, what a review leaves, so that not every write needs one. */
const LEFT_PART = 0.9;
/** Of the size, what is written before a look at what others wrote. */
const UNSEEN_PART = 0.05;
const DEFAULT_MAX_PAGES = 1_000_000;
const REMOVALS_AT_ONCE = 8;

export function createStoreRoom(options: StoreRoomOptions): StoreRoom {
  const { store, clock, uses, maxBytes } = options;
  const maxPages = options.maxPages ?? DEFAULT_MAX_PAGES;
  let knownBytes: number | null = null;
  /** Let in since the last review, and ever. */
  let unseenBytes = 0;
  let admittedBytes = 0;
  /** Of writes under way, which a listing shows or not. */
  let comingBytes = 0;
  let evictedPages = 0;
  let reviewing: Promise<void> | null = null;

  async function evict(pages: readonly StoredPage[], signal?: AbortSignal): Promise<void> {
    const remove = async (index: number, each: AbortSignal): Promise<void> => {
      const page = pages[index];
      if (page !== undefined) await store.remove(page.key, each);
    };
    await runBounded(pages.length, REMOVALS_AT_ONCE, remove, signal);
    evictedPages += pages.length;
    options.onEvicted?.(pages.map(({ key }) => key));
  }

  /** @param roomBytes to make below the size */
  async function look(roomBytes: number, signal?: AbortSignal): Promise<void> {
    // Own uses first: a page that was read a moment ago is not the oldest.
    await uses.flush(signal);
    // Whether the listing shows these is left to chance: they count, and at worst twice.
    const uncertainBytes = comingBytes - admittedBytes;
    const { pages, others } = await listPages(store, PAGE_PREFIX, maxPages, signal);
    const otherBytes = others.reduce((sum, sizeBytes) => sum + chargeOf(sizeBytes), 0);
    let bytes = 0;
    for (const { sizeBytes } of pages.values()) bytes += chargeOf(sizeBytes);
    if (others.length > 0 || bytes + otherBytes + roomBytes > maxBytes) {
      const { usedMs } = await readUses(store, 0, signal);
      // Where the store tells no times, what no book lists yet is new.
      const lastMs = ({ name, modifiedMs }: StoredPage): number =>
        Math.max(usedMs.get(name) ?? 0, modifiedMs ?? (usedMs.has(name) ? 0 : clock.now()));
      const leftBytes = Math.min(maxBytes * LEFT_PART, maxBytes - roomBytes) - otherBytes;
      // More than can be overlooked are too many, whatever their size.
      const leftPages = Math.max(0, maxPages * LEFT_PART - others.length);
      const leftPart = others.length > 0 ? leftPages / pages.size : 1;
      const going = fairEvictions(pages, lastMs, Math.min(leftBytes, bytes * leftPart));
      await evict(going, signal);
      for (const { sizeBytes } of going) bytes -= chargeOf(sizeBytes);
    }
    knownBytes = bytes + otherBytes + uncertainBytes + admittedBytes;
    unseenBytes = 0;
  }

  function review(roomBytes: number, signal?: AbortSignal): Promise<void> {
    reviewing ??= look(roomBytes, signal).finally(() => {
      reviewing = null;
    });
    return reviewing;
  }

  const hasRoom = (bytes: number): boolean => knownBytes !== null && knownBytes + bytes <= maxBytes;

  return {
    async within(sizeBytes, write, signal) {
      if (maxBytes === Number.POSITIVE_INFINITY) return write();
      const bytes = chargeOf(sizeBytes);
      // It would push out nearly everything.
      if (bytes > maxBytes * LEFT_PART) return null;
      // Others that waited for the same review may have taken the room it made.
      for (let tries = 0; tries < 2; tries++) {
        if (hasRoom(bytes) && unseenBytes <= maxBytes * UNSEEN_PART) break;
        await review(bytes, signal);
        signal.throwIfAborted();
      }
      if (!hasRoom(bytes)) return null;
      knownBytes = (knownBytes ?? 0) + bytes;
      unseenBytes += bytes;
      admittedBytes += bytes;
      comingBytes += bytes;
      try {
        return await write();
      } finally {
        comingBytes -= bytes;
      }
    },
    async review(signal) {
      if (maxBytes !== Number.POSITIVE_INFINITY) await review(0, signal);
    },
    stats: () => ({ storedBytes: knownBytes, maxBytes, evictedPages }),
  };
}
