import type { Clock } from '../../../lib/clock.ts';
import { abortable } from '../../../lib/abortable.ts';
import type { ObjectStore } from '../../../weights/object-store.ts';
import type { KvPage } from '../../backend.ts';
import { createKeyMemory } from './key-memory.ts';
import type { PageCodec } from './page-codec.ts';
import type { PageName } from './page-names.ts';
import { createRateMeter } from './rate-meter.ts';
import type { StoreRoom } from './retention/store-room.ts';
import { writePage, type StoreEntry } from './write-page.ts';

export type PageWriterEvent =
  | { readonly type: 'page-written'; readonly key: string; readonly sizeBytes: number }
  | { readonly type: 'page-deduplicated'; readonly key: string }
  | { readonly type: 'write-failed'; readonly key: string; readonly error: unknown }
  | { readonly type: 'page-dropped'; readonly key: string; readonly reason: DropReason };

export type DropReason = 'queue full' | 'no room' | 'failed' | 'deadline' | 'closed';

export interface PageWriterOptions {
  readonly store: ObjectStore;
  readonly room: StoreRoom;
  readonly codec: PageCodec;
  readonly clock: Clock;
  /** Bytes of pages that wait or are on their way; more are not saved. */
  readonly maxQueueBytes: number;
  /** Pages on their way at once; each is copied once meanwhile. */
  readonly inFlight: number;
  /** Keys to remember as written; default 16,384. */
  readonly knownKeys?: number;
  /** Milliseconds before each further attempt; default 200, 1000, 5000. */
  readonly retryMs?: readonly number[];
  /** Observes; must not throw. */
  readonly onEvent?: (event: PageWriterEvent) => void;
}

export interface PageWriterStats {
  readonly queuedBytes: number;
  readonly writtenPages: number;
  readonly writtenBytes: number;
  readonly deduplicatedPages: number;
  readonly droppedPages: number;
  /** Attempts that failed, those included that were repeated with success. */
  readonly failures: number;
  /** While writes were on their way; null before the first. */
  readonly meanBytesPerSecond: number | null;
}

/** Writes pages behind the back of who computes them. What cannot be written is lost, never an error. */
export interface PageWriter {
  /**
   * Takes a page and returns at once. Its bytes must not change until it is written.
   * @returns false when it will not be saved: the queue is full, or the writer closed
   */
  enqueue(page: KvPage, name: PageName): boolean;
  /** The same for a small object whose name tells its content. */
  enqueueObject(key: string, bytes: Uint8Array): boolean;
  /** What the store holds there, null for nothing: a page that is there need not be written. */
  saw(key: string, sizeBytes: number | null): void;
  /** What the store holds there is bad: the next such page is written over it. */
  forget(key: string): void;
  /**
   * Waits until nothing is queued or on its way.
   * @throws the signal's reason
   */
  idle(signal?: AbortSignal): Promise<void>;
  /**
   * Writes what is queued, until the deadline; drops the rest.
   * @returns pages dropped
   * @throws the signal's reason
   */
  flush(deadlineMs: number, signal?: AbortSignal): Promise<number>;
  stats(): PageWriterStats;
  /** Drops what is queued, stops what is on its way and waits for it. */
  close(): Promise<void>;
}

const DEFAULT_KNOWN_KEYS = 16_384;
const DEFAULT_RETRY_MS = [200, 1000, 5000];

export function createPageWriter(options: PageWriterOptions): PageWriter {
  const { store, room, codec, clock, maxQueueBytes, inFlight } = options;
  if (!Number.isInteger(inFlight) || inFlight < 1) {
    throw new RangeError(`inFlight must be a whole number from 1 on, not ${inFlight}`);
  }
  const retryMs = options.retryMs ?? DEFAULT_RETRY_MS;
  const onEvent = options.onEvent ?? ((): void => undefined);
  const keys = options.knownKeys ?? DEFAULT_KNOWN_KEYS;
  const known = createKeyMemory(keys);
  /** Keys that are to be written over. */
  const bad = createKeyMemory(keys);
  /** In order; a key moves from here to `underWay`. */
  const queue = new Map<string, StoreEntry>();
  const underWay = new Map<string, StoreEntry>();
  const lanes = new Set<Promise<void>>();
  const rate = createRateMeter();
  const totals = { writtenPages: 0, writtenBytes: 0, droppedPages: 0, failures: 0 };
  let deduplicatedPages = 0;
  let queuedBytes = 0;
  let markMs = 0;
  let isClosed = false;
  /** Ends what is on its way now; replaced once it has. */
  let stop = new AbortController();
  let stopReason: 'deadline' | 'closed' = 'closed';

  function drop(key: string, reason: DropReason): void {
    totals.droppedPages++;
    onEvent({ type: 'page-dropped', key, reason });
  }

  function deduplicate(key: string): void {
    deduplicatedPages++;
    onEvent({ type: 'page-deduplicated', key });
  }

  async function attempt(entry: StoreEntry, signal: AbortSignal): Promise<void> {
    const { key, sizeBytes } = entry;
    const there = await writePage(store, room, entry, bad.sizeOf(key) !== null, signal);
    if (there === 'no room') return drop(key, there);
    if (there !== 'written') {
      if (there > 0) known.learn(key, there);
      deduplicate(key);
      return;
    }
    bad.forget(key);
    known.learn(key, sizeBytes);
    if (entry.isPage) totals.writtenPages++;
    totals.writtenBytes += sizeBytes;
    const nowMs = clock.now();
    rate.add(sizeBytes, nowMs - markMs);
    markMs = nowMs;
    onEvent({ type: 'page-written', key, sizeBytes });
  }

  async function write(entry: StoreEntry, signal: AbortSignal): Promise<void> {
    const { key } = entry;
    for (let tries = 0; ; tries++) {
      try {
        await attempt(entry, signal);
        return;
      } catch (error) {
        if (signal.aborted) return drop(key, stopReason);
        totals.failures++;
        onEvent({ type: 'write-failed', key, error });
      }
      const waitMs = retryMs[tries];
      if (waitMs === undefined) return drop(key, 'failed');
      // Rejects on abort only, which the next round meets.
      await clock.sleep(waitMs, signal).catch(() => undefined);
      if (signal.aborted) return drop(key, stopReason);
    }
  }

  async function runLane(): Promise<void> {
    for (const [key, entry] of queue) {
      queue.delete(key);
      underWay.set(key, entry);
      await write(entry, stop.signal);
      underWay.delete(key);
      queuedBytes -= entry.heldBytes;
    }
  }

  function startLane(): void {
    if (lanes.size >= inFlight) return;
    if (lanes.size === 0) markMs = clock.now();
    const lane: Promise<void> = runLane().finally(() => {
      lanes.delete(lane);
      // What came between the lane's last look and its end.
      if (queue.size > 0) startLane();
    });
    lanes.add(lane);
  }

  function dropQueue(reason: 'deadline' | 'closed'): void {
    for (const [key, { heldBytes }] of queue) {
      queue.delete(key);
      queuedBytes -= heldBytes;
      drop(key, reason);
    }
  }

  async function idle(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    while (lanes.size > 0) await abortable(Promise.allSettled(lanes), signal);
  }

  async function halt(reason: 'deadline' | 'closed'): Promise<void> {
    dropQueue(reason);
    stopReason = reason;
    stop.abort(new DOMException('the page writer stops', 'AbortError'));
    await idle();
    stop = new AbortController();
  }

  function enqueue(entry: StoreEntry): boolean {
    const { key, sizeBytes, heldBytes } = entry;
    if (isClosed) {
      drop(key, 'closed');
      return false;
    }
    const waiting = queue.get(key) ?? underWay.get(key);
    const savedBytes = Math.max(known.sizeOf(key) ?? 0, waiting?.sizeBytes ?? 0);
    if (savedBytes >= sizeBytes) {
      deduplicate(key);
      return true;
    }
    // A fuller page beside one that waits or is being written comes again at its next use.
    if (waiting !== undefined) return false;
    if (queuedBytes + heldBytes > maxQueueBytes) {
      drop(key, 'queue full');
      return false;
    }
    queuedBytes += heldBytes;
    queue.set(key, entry);
    startLane();
    return true;
  }

  return {
    enqueue(page, name) {
      const encode = (): Promise<Uint8Array> => codec.encode(page, name);
      const sizeBytes = codec.sizeOf(page);
      // An object smaller than its page holds the page until it is made.
      const heldBytes = Math.max(sizeBytes, page.global.length + page.local.length);
      return enqueue({ key: name.key, sizeBytes, heldBytes, isPage: true, encode });
    },
    enqueueObject(key, bytes) {
      const encode = (): Promise<Uint8Array> => Promise.resolve(bytes);
      const sizeBytes = bytes.length;
      return enqueue({ key, sizeBytes, heldBytes: sizeBytes, isPage: false, encode });
    },
    saw(key, sizeBytes) {
      if (sizeBytes === null) known.forget(key);
      else if (bad.sizeOf(key) === null) known.learn(key, sizeBytes);
    },
    forget(key) {
      known.forget(key);
      bad.learn(key, 0);
    },
    idle,
    async flush(deadlineMs, signal) {
      signal?.throwIfAborted();
      const before = totals.droppedPages;
      const timer = new AbortController();
      const waits = signal === undefined ? timer.signal : AbortSignal.any([timer.signal, signal]);
      const late = clock.sleep(deadlineMs, waits).then(
        () => true,
        () => false,
      );
      try {
        const isLate = await Promise.race([idle(waits).then(() => false), late]);
        signal?.throwIfAborted();
        if (isLate) await halt('deadline');
      } finally {
        timer.abort();
      }
      return totals.droppedPages - before;
    },
    stats: () => ({
      queuedBytes,
      deduplicatedPages,
      ...totals,
      meanBytesPerSecond: rate.perSecond,
    }),
    async close() {
      isClosed = true;
      await halt('closed');
    },
  };
}
