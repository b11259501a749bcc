import type { ObjectStore } from '../../../weights/object-store.ts';
import type { StoreRoom } from './retention/store-room.ts';

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
 * @returns size of what was there already
 * @throws what the store does; the signal's reason
 */
export async function writePage(
  store: ObjectStore,
  room: StoreRoom,
  { key, sizeBytes, encode }: StoreEntry,
  isBad: boolean,
  signal: AbortSignal,
): Promise<number | 'written' | 'no room'> {
  const there = isBad ? null : await store.head(key, signal);
  if (there !== null && there.sizeBytes >= sizeBytes) return there.sizeBytes;
  const body = await encode();
  signal.throwIfAborted();
  const ifAbsent = there === null && !isBad;
  const write = async (): Promise<0 | 'written'> => {
    const written = await store.write(key, body, { ifAbsent, signal });
    // Another was faster; how full its page is, the next look will tell.
    return written === null ? 0 : 'written';
  };
  return (await room.within(sizeBytes, write, signal)) ?? 'no room';
}
