import { randomUUID } from 'node:crypto';
import { link, mkdir, open, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, sep } from 'node:path';
import { ServeError } from '../../src/errors.ts';

/** Longest single write, in bytes: an abort is noticed between two. */
const WRITE_BYTES = 16 * 2 ** 20;

const TEMPORARY = /^\.gemlet-[0-9a-f-]{36}\.partial$/;

/** Whether a file is one that is being written, or was when its writer died. */
export function isTemporary(file: string): boolean {
  return TEMPORARY.test(file);
}

/** Rights of what is made: as the system's mask leaves them, or for the owner alone. */
export interface WriteRights {
  readonly isPrivate: boolean;
}

const OWNER_FILE = 0o600;
export const OWNER_FOLDER = 0o700;

/**
 * Writes a file so that others see its old content or the new one whole, also after a crash: under
 * another name in the same folder, flushed to the disk, then renamed. Missing folders are made.
 * @param root the folder that must not be left
 * @param ifAbsent leaves a file alone that is there
 * @returns whether it was written
 * @throws ServeError invalid_checkpoint (a link leads out of `root`), errors of the file system; the
 * signal's reason on abort
 */
export async function writeWhole(
  root: string,
  path: string,
  body: Uint8Array,
  ifAbsent: boolean,
  signal?: AbortSignal,
  { isPrivate }: WriteRights = { isPrivate: false },
): Promise<boolean> {
  const folder = dirname(path);
  await checkInside(root, folder);
  await mkdir(folder, { recursive: true, ...(isPrivate ? { mode: OWNER_FOLDER } : {}) });
  const temporary = join(folder, `.gemlet-${randomUUID()}.partial`);
  try {
    await writeAndFlush(temporary, body, isPrivate ? OWNER_FILE : 0o666, signal);
    signal?.throwIfAborted();
    // A rename would replace a file that came meanwhile; a link never does.
    if (!ifAbsent) await rename(temporary, path);
    else if (!(await linkIfAbsent(temporary, path))) return false;
    await flushFolder(folder);
    return true;
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * Refuses a path that lies outside `root` once symbolic links are followed. What does not exist yet
 * will lie where its nearest existing parent does.
 * @throws ServeError invalid_checkpoint
 */
export async function checkInside(root: string, path: string): Promise<void> {
  const realRoot = (await realOf(root)) ?? root;
  for (let at = path; at.length > root.length; at = dirname(at)) {
    const real = await realOf(at);
    if (real === null) continue;
    if (real === realRoot || real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)) {
      return;
    }
    throw new ServeError(
      'invalid_checkpoint',
      `${basename(path)} would lie outside of file:${root}: ${at} is a link that leads out of it`,
    );
  }
}

async function realOf(folder: string): Promise<string | null> {
  try {
    return await realpath(folder);
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    if (code === 'ENOENT') return null;
    throw error;
  }
}

async function writeAndFlush(
  path: string,
  body: Uint8Array,
  mode: number,
  signal?: AbortSignal,
): Promise<void> {
  // Fails if it exists: no link of another can be written through.
  const file = await open(path, 'wx', mode);
  try {
    for (let done = 0; done < body.length;) {
      signal?.throwIfAborted();
      const { bytesWritten } = await file.write(
        body,
        done,
        Math.min(WRITE_BYTES, body.length - done),
      );
      done += bytesWritten;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

async function linkIfAbsent(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    if (code === 'EEXIST') return false;
    throw error;
  }
}

/** Makes a new name last. */
export async function flushFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch {
    // Windows opens no folders, some network disks flush none: the content itself is on the disk.
  }
}
