import type { Backend } from './backend.ts';
import type { PreparedImage } from './engine.ts';

export interface ImageEncoder {
  /**
   * Starts encoding the image unless it is already there or under way for another sequence of the scope:
   * whoever sends a picture must not learn from the time it takes that somebody else has sent it.
   */
  acquire(image: PreparedImage, scope: string): ImageLease;
  /** Resolves when the encodings asked for so far are over. */
  settled(): Promise<void>;
  /** Drops what nobody uses. */
  clear(): void;
  stats(): ImageEncoderStats;
}

export interface ImageEncoderStats {
  readonly encoded: number;
  /** Images whose embeddings were there or under way when they were asked for. */
  readonly hits: number;
  /** Of embeddings that nobody uses now. */
  readonly idleBytes: number;
}

/** One user's claim on an image's embeddings; after the last release they may stay for the next. */
export interface ImageLease {
  /** [tokensPerImage, hiddenSize], or null while under way. */
  readonly embedding: Float32Array | null;
  /** Why encoding failed; null otherwise. */
  readonly failure: { readonly error: unknown } | null;
  /** May be called more than once. */
  release(): void;
}

export interface ImageEncoderOptions {
  readonly backend: Backend;
  /** Images to [count, 3, size, size], RGB, as the vision tower takes them. */
  readonly toPixels: (images: readonly PreparedImage[]) => Float32Array;
  /** Bytes of embeddings to keep for images that come again. */
  readonly cacheBytes: number;
  /** An image became ready or failed. */
  readonly onSettled: () => void;
}

interface Entry {
  readonly key: string;
  readonly image: PreparedImage;
  readonly controller: AbortController;
  users: number;
  embedding: Float32Array | null;
  failure: { readonly error: unknown } | null;
}

/**
 * Encodes images beside the steps, one at a time in order of demand: the vision tower's
 * activations are large. An image used by several sequences at once is encoded once, and its
 * embeddings stay as long as there is room, least recently used out first.
 */
export function createImageEncoder(options: ImageEncoderOptions): ImageEncoder {
  const entries = new Map<string, Entry>();
  const queue: Entry[] = [];
  /** Ready and unused, in order of last use. */
  const idle = new Map<string, Entry>();
  let idleBytes = 0;
  let encoded = 0;
  let hits = 0;
  let pumping: Promise<void> | null = null;

  async function pump(): Promise<void> {
    // Decodes under way come first; and acquire returns before its image can settle.
    await Promise.resolve();
    for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
      if (entry.users === 0) continue;
      const { signal } = entry.controller;
      try {
        const pixels = options.toPixels([entry.image]);
        entry.embedding = await options.backend.encodeImages(pixels, 1, signal);
        encoded++;
      } catch (error) {
        entry.failure = { error };
      }
      if (entry.users > 0) options.onSettled();
    }
    pumping = null;
  }

  function release(entry: Entry): void {
    entry.users--;
    if (entry.users > 0) return;
    if (entries.get(entry.key) !== entry) return;
    const { embedding } = entry;
    if (embedding === null || embedding.byteLength > options.cacheBytes) {
      drop(entry);
      return;
    }
    idle.set(entry.key, entry);
    idleBytes += embedding.byteLength;
    for (const oldest of idle.values()) {
      if (idleBytes <= options.cacheBytes) break;
      drop(oldest);
    }
  }

  function drop(entry: Entry): void {
    leaveIdle(entry);
    entries.delete(entry.key);
    entry.controller.abort(new DOMException('nobody waits for this image any more', 'AbortError'));
    entry.embedding = null;
  }

  function leaveIdle(entry: Entry): void {
    if (!idle.delete(entry.key)) return;
    idleBytes -= entry.embedding?.byteLength ?? 0;
  }

  return {
    acquire(image, scope) {
      const key = `${image.sha256} ${scope}`;
      let entry = entries.get(key);
      // A failure is not kept for later users: it may have been the device's bad moment.
      if (entry === undefined || entry.failure !== null) {
        entry = {
          key,
          image,
          controller: new AbortController(),
          users: 0,
          embedding: null,
          failure: null,
        };
        entries.set(key, entry);
        queue.push(entry);
        pumping ??= pump();
      } else {
        hits++;
        leaveIdle(entry);
      }
      const held = entry;
      held.users++;
      let isHeld = true;
      return {
        get embedding() {
          return held.embedding;
        },
        get failure() {
          return held.failure;
        },
        release() {
          if (!isHeld) return;
          isHeld = false;
          release(held);
        },
      };
    },
    async settled() {
      await pumping;
    },
    clear() {
      for (const entry of idle.values()) drop(entry);
    },
    stats: () => ({ encoded, hits, idleBytes }),
  };
}
