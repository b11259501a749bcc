import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { flushFolder } from './atomic-write.ts';

/** A file that is written piece by piece and has its name only when it is whole. */
export interface ShardFile {
  write(bytes: Uint8Array): Promise<void>;
  /** Gives the file its name. @returns SHA-256 of its content */
  finish(): Promise<string>;
  /** Removes what was written, unless it was finished. */
  close(): Promise<void>;
}

/** @throws errors of the file system */
export async function createShardFile(folder: string, name: string): Promise<ShardFile> {
  const temporary = join(folder, `.gemlet-${randomUUID()}.partial`);
  const file = await open(temporary, 'wx');
  const hash = createHash('sha256');
  let isOpen = true;
  const end = async (): Promise<void> => {
    if (isOpen) await file.close();
    isOpen = false;
  };
  return {
    async write(bytes) {
      hash.update(bytes);
      for (let done = 0; done < bytes.length;) {
        done += (await file.write(bytes, done, bytes.length - done)).bytesWritten;
      }
    },
    async finish() {
      await file.sync();
      await end();
      await rename(temporary, join(folder, name));
      await flushFolder(folder);
      return hash.digest('hex');
    },
    async close() {
      await end();
      await rm(temporary, { force: true });
    },
  };
}

/** @returns SHA-256 of a file's content */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  const stream = createReadStream(path, {
    highWaterMark: 2 ** 22,
    ...(signal === undefined ? {} : { signal }),
  });
  for await (const piece of stream) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}
