import type { Dirent } from 'node:fs';
import { chmod, readdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { ServeError } from '../../src/errors.ts';
import { checkObjectKey } from '../../src/weights/object-key.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { checkObjectPrefix, isObjectKey } from '../../src/weights/object-store.ts';
import type { ListedObject, ObjectStore } from '../../src/weights/object-store.ts';
import { checkInside, isTemporary, OWNER_FOLDER, writeWhole } from './atomic-write.ts';
import { createFolderSource } from './folder-source.ts';

export interface FolderStoreOptions {
  /**
   * It holds what nobody else is to read or to replace: files and folders are the owner's alone, no link out of the
   * folder is followed, and what writers left that were killed goes with the next listing. Default false.
   */
  readonly isPrivate?: boolean;
}

/** After so long nobody writes any more: the longest write takes minutes. */
const STALE_MS = 3_600_000;

/**
 * Objects of a local folder that can also be written; the folder is created with its first object.
 * A name cannot be an object and a folder at once. Reads follow symbolic links, writes and removals
 * refuse those that lead out of the folder.
 * @param folder may be relative to the working directory
 */
export function createFolderStore(
  folder: string,
  { isPrivate = false }: FolderStoreOptions = {},
): ObjectStore {
  const root = resolve(folder);
  let source = createFolderSource(root);
  const { name } = source;
  /** Whether `source` may hold files open, and so would read old bytes after a write. */
  let hasReads = false;
  /** Sources replaced after a write; their last reads may still run. */
  const retired = new Set<Promise<void>>();
  let isClosed = false;

  /** Reads from now on open their files anew. */
  const forget = (): void => {
    if (!hasReads || isClosed) return;
    hasReads = false;
    const ending = source.close().finally(() => retired.delete(ending));
    retired.add(ending);
    source = createFolderSource(root);
  };
  const checkOpen = (signal: AbortSignal | undefined): void => {
    if (isClosed) throw new ServeError('internal', `${name} is closed`);
    signal?.throwIfAborted();
  };
  const fault = (key: string, what: string, cause: unknown): ServeError =>
    ServeError.is(cause)
      ? cause
      : new ServeError(
          'weights_unavailable',
          `${name}: cannot ${what} ${key} (${codeOf(cause)}); check the folder's rights and free space, and that no part of the name is both a file and a folder`,
          { cause },
        );

  const checkRead = async (key: string): Promise<void> => {
    if (isPrivate) await checkInside(root, join(root, checkObjectKey(key)));
  };
  /** Earlier versions left folders that everybody could enter. */
  const closed = new Set<string>();
  const closeToOthers = async (key: string): Promise<void> => {
    const [top = ''] = key.split('/');
    if (!isPrivate || top === key || closed.has(top)) return;
    closed.add(top);
    await chmod(join(root, top), OWNER_FOLDER);
  };

  const readSync: ObjectSource['readSync'] = (key, offset, target) => {
    hasReads = true;
    source.readSync?.(key, offset, target);
  };

  return {
    name,
    async head(key, signal) {
      await checkRead(key);
      return source.head(key, signal);
    },
    async read(key, offset, target, signal) {
      await checkRead(key);
      hasReads = true;
      return source.read(key, offset, target, signal);
    },
    ...(isPrivate ? {} : { readSync }),
    async list(signal) {
      checkOpen(signal);
      const names = await source.list?.(signal);
      return (names ?? []).filter((file) => !isTemporary(file));
    },
    async write(key, body, { ifAbsent = false, signal } = {}) {
      checkOpen(signal);
      const path = join(root, checkObjectKey(key));
      try {
        const isWritten = await writeWhole(root, path, body, ifAbsent, signal, { isPrivate });
        await closeToOthers(key);
        if (!isWritten) return null;
      } catch (error) {
        signal?.throwIfAborted();
        throw fault(key, 'write', error);
      } finally {
        forget();
      }
      return source.head(key);
    },
    async *listPrefix(prefix, signal) {
      checkOpen(signal);
      yield* filesBelow({ root, isPrivate }, '', checkObjectPrefix(prefix), signal);
    },
    async remove(key, signal) {
      checkOpen(signal);
      const path = join(root, checkObjectKey(key));
      try {
        await checkInside(root, dirname(path));
        await unlink(path);
      } catch (error) {
        if (!isAbsent(error)) throw fault(key, 'remove', error);
      } finally {
        forget();
      }
    },
    async close() {
      isClosed = true;
      await Promise.all([source.close(), ...retired]);
    },
  };
}

/** @param folder key of a folder with a slash at its end, or empty for the root */
async function* filesBelow(
  place: { readonly root: string; readonly isPrivate: boolean },
  folder: string,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<ListedObject> {
  signal?.throwIfAborted();
  const { root, isPrivate } = place;
  for (const entry of await entriesOf(join(root, folder))) {
    const key = folder + entry.name;
    if (isTemporary(entry.name)) {
      if (isPrivate) await removeStale(join(root, key));
      continue;
    }
    if (!isObjectKey(key) || (isPrivate && entry.isSymbolicLink())) continue;
    const mayMatch = key.startsWith(prefix) || prefix.startsWith(`${key}/`);
    if (!mayMatch) continue;
    signal?.throwIfAborted();
    const stats = await stat(join(root, key)).catch((error: unknown) => {
      if (isAbsent(error)) return null;
      throw error;
    });
    // Removed meanwhile, or a link that leads nowhere.
    if (stats === null) continue;
    if (stats.isDirectory()) {
      // A linked folder may be its own parent.
      if (entry.isDirectory()) yield* filesBelow(place, `${key}/`, prefix, signal);
    } else if (key.startsWith(prefix)) {
      yield { key, sizeBytes: stats.size, modifiedMs: stats.mtimeMs };
    }
  }
}

/** What a writer that was killed left; whoever cannot remove it leaves it to others. */
async function removeStale(path: string): Promise<void> {
  try {
    const { mtimeMs } = await stat(path);
    if (mtimeMs < Date.now() - STALE_MS) await unlink(path);
  } catch {
    // Done by another process meanwhile, or without the right to.
  }
}

async function entriesOf(folder: string): Promise<readonly Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return typeof code === 'string' ? code : 'unknown';
}

function isAbsent(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
