import type { ObjectStore } from '../../../weights/object-store.ts';

/** A page or another object of its kind to be written. */
export interface StoreEntry {
  readonly key: string;
  /** Of the object. */
  readonly sizeBytes: number;
  /** Of memory while it waits. */
  readonly heldBytes: number;
  readonly isPage: boolean;
  /** The object, made only when it is written. */
  readonly encode: () => Promise<Uint8Array>;
}

/**
 * Writes a page unless the store has one as full: its name is its content, but one read back without
 * its local part, or from a ring that had lost it, is shorter. A shorter object is replaced.
 * @param isBad what is there must be replaced whatever its size
 * @returns size of what was there already, null when the page was written
 * @throws what the store does; the signal's reason
 */
export async function writePage(
  store: ObjectStore,
  { key, sizeBytes, encode }: StoreEntry,
  isBad: boolean,
  signal: AbortSignal,
): Promise<number | null> {
  const there = isBad ? null : await store.head(key, signal);
  if (there !== null && there.sizeBytes >= sizeBytes) return there.sizeBytes;
  const body = await encode();
  signal.throwIfAborted();
  const ifAbsent = there === null && !isBad;
  const written = await store.write(key, body, { ifAbsent, signal });
  // Another was faster; how full its page is, the next look will tell.
  return written === null ? 0 : null;
}
