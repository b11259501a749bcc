import { ServeError } from '../errors.ts';
import type { ObjectSource } from './object-source.ts';

/** Far above any config or shard index, in bytes. */
const MAX_JSON_BYTES = 64 * 2 ** 20;

/**
 * Reads and parses a JSON file of the model.
 * @returns undefined when the file is absent
 * @throws ServeError invalid_checkpoint when it is too large or not JSON
 */
export async function readJson(
  source: ObjectSource,
  key: string,
  signal?: AbortSignal,
): Promise<unknown> {
  const info = await source.head(key, signal);
  if (info === null) return undefined;
  const where = `${source.name}: ${key}`;
  if (info.sizeBytes > MAX_JSON_BYTES) {
    throw new ServeError(
      'invalid_checkpoint',
      `${where} has ${info.sizeBytes} bytes, too many for a JSON file of a model`,
    );
  }
  const bytes = new Uint8Array(info.sizeBytes);
  await source.read(key, 0, bytes, signal);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ServeError(
      'invalid_checkpoint',
      `${where} is not JSON; download it again (a file of a few lines that begins with "version https://git-lfs" was cloned without Git LFS)`,
      { cause: error },
    );
  }
}
