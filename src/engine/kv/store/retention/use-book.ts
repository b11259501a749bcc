import type { Clock } from '../../../../lib/clock.ts';
import type { ObjectStore } from '../../../../weights/object-store.ts';
import { parseStoredKey } from './stored-key.ts';

/** Every key of a book begins with it. */
export const BOOK_PREFIX = 'kv-uses/';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export interface UseBookOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** Differs from that of every other process that writes here: letters, digits, `-`. */
  readonly instance: string;
}

/**
 * Which pages and said ids were of use on which day: stores tell no times of use, and touching every page would
 * cost a request each. One small object a flush, `kv-uses/<day>/<instance>-<number>`, lists keys; the
 * last page of a chain stands for all before it. A key is listed once an hour.
 */
export interface UseBook {
  /** A page was written, or is the last of a chain that was read. */
  use(key: string): void;
  /**
   * Writes what is new; on failure it stays for the next time.
   * @throws ServeError weights_unavailable; the signal's reason
   */
  flush(signal?: AbortSignal): Promise<void>;
}

export function createUseBook(options: UseBookOptions): UseBook {
  const { store, clock, instance } = options;
  if (!/^[\w-]{1,64}$/.test(instance)) {
    throw new RangeError('instance must be 1 to 64 letters, digits, - or _');
  }
  let hour = hourOf(clock.now());
  let pages = 0;
  let listed = new Set<string>();
  let fresh = new Set<string>();

  return {
    use(key) {
      const now = hourOf(clock.now());
      if (now !== hour) {
        hour = now;
        listed = new Set();
      }
      if (!listed.has(key)) fresh.add(key);
    },
    async flush(signal) {
      if (fresh.size === 0) return;
      const keys = fresh;
      fresh = new Set();
      const number = pages++;
      const body = new TextEncoder().encode(`${[...keys].join('\n')}\n`);
      try {
        const key = `${BOOK_PREFIX}${String(dayOf(clock.now()))}/${instance}-${number}`;
        await store.write(key, body, signal === undefined ? {} : { signal });
        for (const each of keys) listed.add(each);
      } catch (error) {
        for (const each of keys) fresh.add(each);
        throw error;
      }
    },
  };
}

/** Its last millisecond. */
export function endOfDay(day: number): number {
  return (day + 1) * DAY_MS - 1;
}

export interface BookPage {
  readonly key: string;
  readonly day: number;
  readonly sizeBytes: number;
}

function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS);
}

/** Whole days since 1970. */
export function dayOf(ms: number): number {
  return Math.floor(ms / DAY_MS);
}

/** A page of a book found in a listing; null for other objects. */
export function parseBookKey(key: string, sizeBytes: number): BookPage | null {
  const match = /^kv-uses\/([0-9]{1,8})\/[\w-]+$/.exec(key);
  return match === null ? null : { key, day: Number(match[1]), sizeBytes };
}

/**
 * Keys that a page of a book lists.
 * @throws ServeError weights_unavailable; the signal's reason
 */
export async function readKeys(
  store: ObjectStore,
  key: string,
  sizeBytes: number,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const bytes = new Uint8Array(sizeBytes);
  await store.read(key, 0, bytes, signal);
  const lines = new TextDecoder().decode(bytes).split('\n');
  return lines.filter((line) => parseStoredKey(line) !== null);
}
