import { sha256Hex } from '../lib/sha256-hex.ts';
import type { ObjectStore } from '../weights/object-store.ts';
import { ALIGN_BYTES, partKey, type BundlePart } from './manifest.ts';

export interface PartWriterOptions {
  readonly store: ObjectStore;
  readonly partBytes: number;
  /** Parts on their way at once. */
  readonly inFlight: number;
  /** A part is in the store; `sent` says whether it had to be. */
  readonly onPart: (bytes: number, sent: boolean) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Cuts a stream of bytes into parts and writes those that the store lacks. */
export interface PartWriter {
  /** Bytes so far: where the next ones go. */
  readonly offset: number;
  /** Fills up to the next multiple of ALIGN_BYTES. */
  align(): Promise<void>;
  append(bytes: Uint8Array): Promise<void>;
  /** Ends the current part, however short. */
  cut(): Promise<void>;
  /** Waits for what is on its way. */
  finish(): Promise<readonly BundlePart[]>;
}

export function createPartWriter(options: PartWriterOptions): PartWriter {
  const { store, partBytes, signal } = options;
  const parts: Promise<BundlePart>[] = [];
  const underWay = new Set<Promise<BundlePart>>();
  let buffer = new Uint8Array(partBytes);
  let filled = 0;
  let offset = 0;

  async function send(bytes: Uint8Array): Promise<BundlePart> {
    const part = { sha256: await sha256Hex(bytes), sizeBytes: bytes.length };
    const key = partKey(part);
    // A store writes whole objects or nothing, and the name is the content.
    const known = await store.head(key, signal);
    const isThere = known?.sizeBytes === bytes.length;
    if (!isThere) await store.write(key, bytes, signal === undefined ? {} : { signal });
    options.onPart(bytes.length, !isThere);
    return part;
  }

  async function cut(): Promise<void> {
    if (filled === 0) return;
    signal?.throwIfAborted();
    const sending = send(buffer.subarray(0, filled)).finally(() => underWay.delete(sending));
    // Whoever waits for room or for the end meets a failure.
    sending.catch(() => undefined);
    parts.push(sending);
    underWay.add(sending);
    buffer = new Uint8Array(partBytes);
    filled = 0;
    if (underWay.size >= options.inFlight) await Promise.race(underWay);
  }

  async function append(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const count = Math.min(bytes.length - at, partBytes - filled);
      buffer.set(bytes.subarray(at, at + count), filled);
      filled += count;
      offset += count;
      at += count;
      if (filled === partBytes) await cut();
    }
  }

  return {
    get offset() {
      return offset;
    },
    align: () => append(new Uint8Array((ALIGN_BYTES - (offset % ALIGN_BYTES)) % ALIGN_BYTES)),
    append,
    cut,
    async finish() {
      await cut();
      return Promise.all(parts);
    },
  };
}
