import { ServeError } from '../../src/errors.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';

export interface MemorySource extends ObjectSource {
  /** Every asynchronous read so far. */
  readonly reads: readonly { key: string; offset: number; length: number }[];
  readonly isClosed: boolean;
}

/** Objects in memory; `local` adds `readSync`, `listed` adds `list`. */
export function memorySource(
  files: Readonly<Record<string, Uint8Array | object>>,
  options: { local?: boolean; listed?: boolean } = {},
): MemorySource {
  const objects = new Map(
    Object.entries(files).map(([key, value]) => [
      key,
      value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value)),
    ]),
  );
  const reads: { key: string; offset: number; length: number }[] = [];
  let isClosed = false;
  const copy = (key: string, offset: number, target: Uint8Array): void => {
    const bytes = objects.get(key);
    if (bytes === undefined || offset + target.length > bytes.length) {
      throw new ServeError('weights_unavailable', `memory: no such bytes of ${key}`);
    }
    target.set(bytes.subarray(offset, offset + target.length));
  };
  return {
    name: 'memory:',
    reads,
    get isClosed() {
      return isClosed;
    },
    async head(key) {
      const bytes = objects.get(key);
      return bytes === undefined ? null : { sizeBytes: bytes.length, etag: null };
    },
    async read(key, offset, target, signal) {
      signal?.throwIfAborted();
      reads.push({ key, offset, length: target.length });
      // Lets other reads start first, as a real source would.
      await Promise.resolve();
      copy(key, offset, target);
    },
    ...(options.local === true ? { readSync: copy } : {}),
    ...(options.listed === true ? { list: async () => [...objects.keys()] } : {}),
    async close() {
      isClosed = true;
    },
  };
}
