import type { Clock } from '../../../../lib/clock.ts';
import type { ObjectStore } from '../../../../weights/object-store.ts';
import { createPageCollector } from './page-gc.ts';
import type { StoreRoom } from './store-room.ts';
import type { UseBook } from './use-book.ts';

export interface RetentionOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly uses: UseBook;
  readonly room: StoreRoom;
  /** Days without use after which pages are removed; null: never. */
  readonly keepDays: number | null;
  readonly onFailure: (error: unknown) => void;
}

/** Between times at which uses are booked, and at which what others wrote is looked at. */
const REVIEW_MS = 3_600_000;
/** Reviews from one look for pages that nobody used for days to the next. */
const REVIEWS_A_SWEEP = 6;

/** Keeps a store within its size and removes what nobody uses, until the signal ends it. */
export async function retain(options: RetentionOptions, signal: AbortSignal): Promise<void> {
  const { store, clock, uses, room, keepDays, onFailure } = options;
  const collector = keepDays === null ? null : createPageCollector({ store, clock, keepDays });
  for (let reviews = 1; !signal.aborted; reviews++) {
    try {
      await clock.sleep(REVIEW_MS, signal);
      await uses.flush(signal);
      if (reviews % REVIEWS_A_SWEEP === 0) await collector?.sweep(undefined, signal);
      await room.review(signal);
    } catch (error) {
      if (!signal.aborted) onFailure(error);
    }
  }
}
