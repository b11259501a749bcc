import type { ObjectStore } from '../../../weights/object-store.ts';
import type { KvPage } from '../../backend.ts';
import type { PageCodec } from './page-codec.ts';
import type { PageName } from './page-names.ts';

/** A page to be written. */
export interface PageEntry {
  readonly page: KvPage;
  readonly name: PageName;
  /** Of the object. */
  readonly sizeBytes: number;
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
  codec: PageCodec,
  { page, name, sizeBytes }: PageEntry,
  isBad: boolean,
  signal: AbortSignal,
): Promise<number | null> {
  const { key } = name;
  const there = isBad ? null : await store.head(key, signal);
  if (there !== null && there.sizeBytes >= sizeBytes) return there.sizeBytes;
  const body = await codec.encode(page, name);
  signal.throwIfAborted();
  const ifAbsent = there === null && !isBad;
  const written = await store.write(key, body, { ifAbsent, signal });
  // Another was faster; how full its page is, the next look will tell.
  return written === null ? 0 : null;
}
