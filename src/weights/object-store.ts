import { checkObjectKey } from './object-key.ts';
import type { ObjectInfo, ObjectSource } from './object-source.ts';

export interface WriteOptions {
  /** Only create: an object that is there stays as it is, and the write answers null. */
  readonly ifAbsent?: boolean;
  readonly signal?: AbortSignal;
}

/** One object of a listing. */
export interface ListedObject {
  readonly key: string;
  readonly sizeBytes: number;
  /** When it was last written, in milliseconds since 1970; absent where the store does not tell. */
  readonly modifiedMs?: number;
}

/**
 * An `ObjectSource` that can also be written: models converted once and read often, and what
 * instances share. Implementations: a folder (adapters/node), S3 and its kin (adapters/s3), a
 * Cloudflare R2 binding (adapters/r2).
 *
 * Writes are atomic: a reader sees the old object or the new one whole, and of several writers with
 * `ifAbsent` one wins. This store's own reads see a write as soon as it has settled; a read that
 * runs meanwhile gives the old bytes or fails as "changed", it never mixes them.
 */
export interface ObjectStore extends ObjectSource {
  /**
   * Creates or replaces an object.
   * @param body the whole object; must not change before the promise settles
   * @returns the new object; null when `ifAbsent` was asked for and it existed
   * @throws ServeError invalid_checkpoint (not a plain key), weights_unavailable. After a failure or
   * an abort the object is as it was, or written whole; never in between
   */
  write(key: string, body: Uint8Array, options?: WriteOptions): Promise<ObjectInfo | null>;
  /**
   * Every object whose key begins with `prefix`, in subfolders too and without order, page by page.
   * Objects whose names are no plain keys are left out. What is written or removed during a listing
   * may appear in it or not.
   * @param prefix empty, or the beginning of a plain key; `/` is a letter like any other
   */
  listPrefix(prefix: string, signal?: AbortSignal): AsyncIterable<ListedObject>;
  /** Removes an object; one that is absent is fine. */
  remove(key: string, signal?: AbortSignal): Promise<void>;
}

/**
 * Refuses prefixes of which no plain key can begin.
 * @returns `prefix`
 * @throws ServeError invalid_checkpoint
 */
export function checkObjectPrefix(prefix: string): string {
  // Completed to a name, as what stands after the last slash may be the beginning of any.
  checkObjectKey(`${prefix}x`);
  return prefix;
}

/** Whether a name found in a listing is a key that can be read. */
export function isObjectKey(name: string): boolean {
  try {
    checkObjectKey(name);
    return true;
  } catch {
    return false;
  }
}
