import { ServeError } from '../errors.ts';
import type { Sha256 } from '../lib/sha256-hex.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import type { BundleFile } from './manifest.ts';

/**
 * The small files of a bundle, as its manifest lists them and with the bytes it promises; everything
 * else does not exist. Each is fetched once.
 */
export function createVerifiedFiles(
  source: ObjectSource,
  files: readonly BundleFile[],
  sha256: Sha256,
): ObjectSource {
  const listed = new Map(files.map((file) => [file.key, file]));
  const fetched = new Map<string, Promise<Uint8Array>>();

  async function fetchFile(file: BundleFile, signal?: AbortSignal): Promise<Uint8Array> {
    const bytes = new Uint8Array(file.sizeBytes);
    await source.read(file.key, 0, bytes, signal);
    if ((await sha256(bytes)) === file.sha256) return bytes;
    throw new ServeError(
      'invalid_checkpoint',
      `${source.name}: ${file.key} is not the file that the manifest lists. Run gemlet pack again.`,
    );
  }

  return {
    name: source.name,
    head: async (key) => {
      const file = listed.get(key);
      return file === undefined ? null : { sizeBytes: file.sizeBytes, etag: file.sha256 };
    },
    async read(key, offset, target, signal) {
      const file = listed.get(key);
      if (file === undefined) {
        throw new ServeError('weights_unavailable', `${source.name}: the bundle has no ${key}`);
      }
      const known = fetched.get(key) ?? fetchFile(file, signal);
      fetched.set(key, known);
      try {
        target.set((await known).subarray(offset, offset + target.length));
      } catch (error) {
        fetched.delete(key);
        throw error;
      }
    },
    list: async () => files.map(({ key }) => key),
    close: () => source.close(),
  };
}
