import { ServeError } from '../../src/errors.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';

export interface MemoryStore extends ObjectStore {
  readonly objects: Map<string, Uint8Array>;
  /** Keys written so far, in order. */
  readonly writes: readonly string[];
  /** Keys read so far, with what was asked of them. */
  readonly reads: readonly { readonly key: string; readonly length: number }[];
  /** Looks at every read and may change what arrives, or fail it. */
  onRead: (key: string, target: Uint8Array) => void | Promise<void>;
  onWrite: (key: string) => void;
}

/** A store in memory, for tests of what stands on one. */
export function memoryStore(): MemoryStore {
  const objects = new Map<string, Uint8Array>();
  const writes: string[] = [];
  const reads: { key: string; length: number }[] = [];
  const self: MemoryStore = {
    name: 'memory:',
    objects,
    writes,
    reads,
    onRead: () => undefined,
    onWrite: () => undefined,
    async head(key) {
      const bytes = objects.get(key);
      return bytes === undefined ? null : { sizeBytes: bytes.length, etag: null };
    },
    async read(key, offset, target, signal) {
      signal?.throwIfAborted();
      reads.push({ key, length: target.length });
      // Others get their turn first, as with a real store.
      await new Promise((resolve) => setImmediate(resolve));
      const bytes = objects.get(key);
      if (bytes === undefined || offset + target.length > bytes.length) {
        throw new ServeError('weights_unavailable', `memory: no such bytes of ${key}`);
      }
      target.set(bytes.subarray(offset, offset + target.length));
      await self.onRead(key, target);
      signal?.throwIfAborted();
    },
    async write(key, body, options = {}) {
      options.signal?.throwIfAborted();
      self.onWrite(key);
      if (options.ifAbsent === true && objects.has(key)) return null;
      objects.set(key, body.slice());
      writes.push(key);
      return { sizeBytes: body.length, etag: null };
    },
    async *listPrefix(prefix) {
      for (const [key, { length }] of objects) {
        if (key.startsWith(prefix)) yield { key, sizeBytes: length };
      }
    },
    remove: async (key) => void objects.delete(key),
    close: () => Promise.resolve(),
  };
  return self;
}
