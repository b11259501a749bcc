import type { ObjectSource } from './object-source.ts';

/** The same source, telling of every byte that `read` brought. */
export function createCountedSource(
  source: ObjectSource,
  onBytes: (bytes: number) => void,
): ObjectSource {
  return {
    ...source,
    name: source.name,
    async read(key, offset, target, signal) {
      await source.read(key, offset, target, signal);
      onBytes(target.length);
    },
  };
}
