import { closeSync, fstatSync, openSync, read, readSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ServeError } from '../../src/errors.ts';
import { checkObjectKey } from '../../src/weights/object-key.ts';
import type { ObjectInfo, ObjectSource } from '../../src/weights/object-source.ts';

/** Longest single read, in bytes: an abort is noticed between two. */
const READ_BYTES = 16 * 2 ** 20;

interface OpenFile {
  readonly fd: number;
  readonly etag: string;
  readonly sizeBytes: number;
}

/**
 * Objects of a local folder; keys are paths below it. Files stay open between reads, so that a
 * file replaced by another one keeps its old bytes; one changed in place is an error.
 * @param folder may be relative to the working directory, and may hold symbolic links
 */
export function createFolderSource(folder: string): ObjectSource {
  const root = resolve(folder);
  const name = `file:${root}`;
  const files = new Map<string, OpenFile>();
  const pending = new Set<Promise<void>>();
  let isClosed = false;

  const pathOf = (key: string): string => {
    if (isClosed) throw new ServeError('internal', `${name} is closed`);
    return join(root, checkObjectKey(key));
  };
  // Opening is synchronous also for `read`: it takes microseconds, and two first reads of a file
  // then cannot open it twice.
  const fileOf = (key: string): OpenFile => {
    const path = pathOf(key);
    const known = files.get(key);
    if (known !== undefined) {
      if (known.etag === etagOf(fstatSync(known.fd))) return known;
      files.delete(key);
      // A read still running on it would meet a number that the next open may reuse.
      void Promise.allSettled(pending).then(() => closeSync(known.fd));
      throw changed(name, key);
    }
    try {
      const fd = openSync(path, 'r');
      const stats = fstatSync(fd);
      const file = { fd, etag: etagOf(stats), sizeBytes: stats.size };
      files.set(key, file);
      return file;
    } catch (error) {
      throw new ServeError('weights_unavailable', `${name}: cannot read ${key}`, { cause: error });
    }
  };
  const rangeOf = (key: string, offset: number, target: Uint8Array): OpenFile => {
    const file = fileOf(key);
    if (offset + target.length <= file.sizeBytes) return file;
    throw new ServeError(
      'weights_unavailable',
      `${name}: ${key} has ${file.sizeBytes} bytes, asked for ${offset} to ${offset + target.length}; download it again`,
    );
  };
  const readAll = async (
    key: string,
    offset: number,
    target: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void> => {
    const { fd } = rangeOf(key, offset, target);
    for (let done = 0; done < target.length;) {
      signal?.throwIfAborted();
      const piece = target.subarray(done, done + READ_BYTES);
      const count = await readOnce(fd, piece, offset + done);
      if (count === 0) throw changed(name, key);
      done += count;
    }
  };

  return {
    name,
    async head(key, signal): Promise<ObjectInfo | null> {
      signal?.throwIfAborted();
      try {
        const stats = await stat(pathOf(key));
        return stats.isFile() ? { sizeBytes: stats.size, etag: etagOf(stats) } : null;
      } catch (error) {
        if (isAbsent(error)) return null;
        throw error;
      }
    },
    async read(key, offset, target, signal) {
      signal?.throwIfAborted();
      const reading = readAll(key, offset, target, signal);
      pending.add(reading);
      try {
        await reading;
      } finally {
        pending.delete(reading);
      }
    },
    readSync(key, offset, target) {
      const { fd } = rangeOf(key, offset, target);
      for (let done = 0; done < target.length;) {
        const count = readSync(fd, target, done, target.length - done, offset + done);
        if (count === 0) throw changed(name, key);
        done += count;
      }
    },
    async list(signal) {
      signal?.throwIfAborted();
      const entries = await readdir(root, { withFileTypes: true });
      return entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
    },
    async close() {
      isClosed = true;
      await Promise.allSettled(pending);
      for (const { fd } of files.values()) closeSync(fd);
      files.clear();
    },
  };
}

function readOnce(fd: number, target: Uint8Array, position: number): Promise<number> {
  return new Promise((fulfil, reject) => {
    read(fd, target, 0, target.length, position, (error, count) => {
      if (error === null) fulfil(count);
      else reject(error);
    });
  });
}

function etagOf(stats: { readonly size: number; readonly mtimeMs: number }): string {
  return `${stats.size}-${stats.mtimeMs}`;
}

function isAbsent(error: unknown): boolean {
  const code = (error as { readonly code?: unknown }).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

function changed(name: string, key: string): ServeError {
  return new ServeError(
    'weights_unavailable',
    `${name}: ${key} changed while it was read; wait until the download is complete and start again`,
  );
}
