import { abortable } from '../../../lib/abortable.ts';
import type { Clock } from '../../../lib/clock.ts';
import type { Sha256 } from '../../../lib/sha256-hex.ts';
import type { ObjectStore } from '../../../weights/object-store.ts';
import type { KvPage } from '../../backend.ts';
import { outsideImages } from '../content.ts';
import type { KvContent, KvStore } from '../kv-store.ts';
import { forgetPages } from './forget-pages.ts';
import { createInt8Codec, INT8_KIND } from './int8-codec.ts';
import { createPageCodec } from './page-codec.ts';
import { createPageFinder } from './page-finder.ts';
import { createPageNamer } from './page-names.ts';
import { createPageReader } from './page-reader.ts';
import { createPageWriter } from './page-writer.ts';
import { createSaidCodec } from './said-object.ts';
import { createSaidShelf } from './said-shelf.ts';
import { createFetchMeter, decideRestore, restoreBytes } from './restore-decision.ts';
import { retain } from './retention/retention.ts';
import { createStoreRoom } from './retention/store-room.ts';
import { createUseBook } from './retention/use-book.ts';

export interface ObjectKvStoreOptions {
  /** Closed with this. */
  readonly store: ObjectStore;
  /** Of all that decides over a page's bytes: model, precision, kernels. */
  readonly fingerprint: string;
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
  /** Stores vectors of so many floats as int8, see `createInt8Codec`; null (default): pages as they are. */
  readonly int8HeadDim?: number | null;
  readonly windowTokens: number;
  readonly tokensPerImage: number;
  readonly pageTokens: number;
  readonly clock: Clock;
  /** Tells this process from others that write to the store. */
  readonly instance: string;
  readonly sha256?: Sha256;
  /** Restore whatever is there, also where computing it seems faster; default false. */
  readonly alwaysRestores?: boolean;
  /** Bytes that may wait to be written; default 1 GiB. */
  readonly maxQueueBytes?: number;
  /** Days without use after which pages are removed, looked for now and then; null (default): never. */
  readonly keepDays?: number | null;
  /** Bytes of all that lies in the store; default any. Of what is too much the oldest goes, of the tenant with most. */
  readonly maxBytes?: number;
  /** Milliseconds a prompt waits for the store at most; default 30,000. */
  readonly fetchDeadlineMs?: number;
  /** Observes failures; must not throw. */
  readonly onFailure?: (error: unknown) => void;
}

const MAX_QUEUE_BYTES = 2 ** 30;
const FETCH_DEADLINE_MS = 30_000;
const LEAST_PATIENCE_MS = 500;
const WRITES_AT_ONCE = 4;
const READS_AT_ONCE = 8;
/** Looking for pages takes part of the time that fetching them may take. */
const FIND_SHARE = 0.3;

/** Pages in an object store, written when turns end and read before prompts queue. */
export function createObjectKvStore(options: ObjectKvStoreOptions): KvStore {
  const { store, kvTokenBytes, int8HeadDim = null, windowTokens, pageTokens, clock } = options;
  const { fingerprint: exact } = options;
  const fingerprint = int8HeadDim === null ? exact : `${exact};${INT8_KIND}`;
  const sha256 = options.sha256 === undefined ? {} : { sha256: options.sha256 };
  const onFailure = options.onFailure ?? ((): void => undefined);
  const deadlineMs = options.fetchDeadlineMs ?? FETCH_DEADLINE_MS;
  const namer = createPageNamer({ fingerprint, ...sha256 });
  const codecOptions = { fingerprint, kvTokenBytes, ...sha256 };
  const codec =
    int8HeadDim === null
      ? createPageCodec(codecOptions)
      : createInt8Codec({ ...codecOptions, headDim: int8HeadDim });
  const meter = createFetchMeter();
  const uses = createUseBook({ store, clock, instance: options.instance });
  const room = createStoreRoom({
    store,
    clock,
    uses,
    maxBytes: options.maxBytes ?? Number.POSITIVE_INFINITY,
    onEvicted: (keys) => {
      for (const key of keys) writer.saw(key, null);
    },
  });
  const writer = createPageWriter({
    store,
    room,
    codec,
    clock,
    maxQueueBytes: options.maxQueueBytes ?? MAX_QUEUE_BYTES,
    inFlight: WRITES_AT_ONCE,
    onEvent: (event) => {
      if (event.type === 'page-written' || event.type === 'page-deduplicated') uses.use(event.key);
      if (event.type === 'write-failed') onFailure(event.error);
    },
  });
  const finder = createPageFinder({
    store,
    inFlight: READS_AT_ONCE,
    onHead: (key, sizeBytes) => writer.saw(key, sizeBytes),
  });
  const reader = createPageReader({
    store,
    namer,
    codec,
    finder,
    clock,
    pageTokens,
    windowTokens,
    inFlight: READS_AT_ONCE,
  });
  const refused: Record<string, number> = {};
  const shelf = createSaidShelf({
    store,
    codec: createSaidCodec({ namer, fingerprint, ...sha256 }),
    writer,
    uses,
    clock,
    inFlight: READS_AT_ONCE,
    onRefused: (reason) => void (refused[reason] = (refused[reason] ?? 0) + 1),
  });
  /** By the words they were kept for. */
  const keptPages = new WeakMap<Int32Array, { tokens: number; bytes: number }>();
  const naming = new Set<Promise<void>>();
  let namingBytes = 0;
  let fetchedPages = 0;
  let fetchedBytes = 0;
  let fetchedTokens = 0;
  const decisions = { restore: 0, recompute: 0 };

  async function enqueue(content: KvContent, pages: readonly KvPage[]): Promise<void> {
    const chain = await namer.chain(content, pageTokens, content.words.length);
    for (const page of pages) {
      const index = page.start / pageTokens;
      const isFull = page.count === pageTokens && chain.full[index] !== undefined;
      const end = Math.min(page.count, content.words.length - page.start);
      if (end < page.count && !isFull) continue;
      const name = isFull ? chain.full[index] : await chain.next(index, page.count);
      if (name !== undefined) writer.enqueue(page, name);
    }
  }

  /** A store that hangs must not cost more than computing does. */
  function patience(tokens: number, tokensPerSecond: number | null): number {
    if (tokensPerSecond === null || options.alwaysRestores === true) return deadlineMs;
    const recomputeMs = (tokens * 1000) / tokensPerSecond;
    return Math.min(deadlineMs, Math.max(LEAST_PATIENCE_MS, recomputeMs));
  }

  async function flush(signal?: AbortSignal): Promise<void> {
    await abortable(Promise.all(naming), signal);
    await writer.idle(signal);
    await uses.flush(signal);
  }

  const stop = new AbortController();
  const { keepDays = null, maxBytes = Number.POSITIVE_INFINITY } = options;
  const isRetained = keepDays !== null || maxBytes !== Number.POSITIVE_INFINITY;
  const retaining = isRetained
    ? retain({ store, clock, uses, room, keepDays, onFailure }, stop.signal)
    : null;

  return {
    async fetch(content, from, limit, prefillTokensPerSecond, signal) {
      const { images } = content;
      const positions = images.map(({ position }) => position);
      const cut = (length: number): number =>
        outsideImages(length, positions, options.tokensPerImage);
      const request = { content, from, limit, cut };
      const askedMs = clock.now();
      const patienceMs = patience(limit - from, prefillTokensPerSecond);
      const found = await reader.find(request, patienceMs * FIND_SHARE, signal);
      // A few round trips one after the other: about what a fetch waits before bytes come.
      meter.answered(Math.max(0, clock.now() - askedMs));
      const nothing = { pages: [], choice: null, length: from };
      if (found.length <= from) return nothing;
      const decision = decideRestore({
        tokens: found.length - from,
        bytes: restoreBytes({ kvTokenBytes: codec.tokenBytes, windowTokens }, from, found.length),
        latencyMs: meter.latencyMs,
        bytesPerSecond: meter.bytesPerSecond,
        tokensPerSecond: prefillTokensPerSecond,
      });
      const choice = options.alwaysRestores === true ? 'restore' : decision.choice;
      decisions[choice]++;
      if (choice === 'recompute') return { pages: [], choice, length: found.length };
      const {
        pages,
        length,
        bytes,
        ms,
        refused: bad,
      } = await reader.fetch(found, deadlineMs * (1 - FIND_SHARE), signal);
      meter.fetched(bytes, ms);
      for (const { reason, key } of bad) {
        refused[reason] = (refused[reason] ?? 0) + 1;
        // What came late or could not be read may be good: it stays.
        if (reason === 'missing') writer.saw(key, null);
        else if (reason !== 'late' && reason !== 'unreadable') writer.forget(key);
      }
      fetchedBytes += bytes;
      if (length <= from) return nothing;
      fetchedPages += pages.length;
      fetchedTokens += length - from;
      const last = pages.at(-1);
      if (last !== undefined) {
        uses.use((await found.chain.next(last.start / pageTokens, last.count)).key);
      }
      return { pages, choice, length };
    },
    async fetchSaid(scope, wanted, tokens, prefillTokensPerSecond, signal) {
      const ms = patience(tokens, prefillTokensPerSecond) * FIND_SHARE;
      await shelf.fetch(scope, wanted, ms, signal);
    },
    keep(content, pages, said = []) {
      const bytes = pages.reduce((sum, page) => sum + codec.sizeOf(page), 0);
      const last = pages.at(-1);
      keptPages.set(content.words, {
        tokens: last === undefined ? 0 : last.start + last.count,
        bytes,
      });
      namingBytes += bytes;
      const named = Promise.all([enqueue(content, pages), shelf.keep(content.scope, said)])
        .then(() => undefined)
        .catch(onFailure)
        .finally(() => {
          namingBytes -= bytes;
          naming.delete(named);
        });
      naming.add(named);
    },
    stored(words) {
      const kept = keptPages.get(words);
      // Until the queue is empty nobody knows which of its pages are there.
      if (kept === undefined || namingBytes + writer.stats().queuedBytes > 0) {
        return { storeTokens: 0, storeBytes: 0 };
      }
      return { storeTokens: kept.tokens, storeBytes: kept.bytes };
    },
    async forget(content, kept, signal) {
      await flush(signal);
      const keys = await forgetPages(store, namer, pageTokens, content, kept, signal);
      for (const key of keys) writer.saw(key, null);
      await shelf.forget(content, kept, signal);
      keptPages.delete(content.words);
    },
    flush,
    stats() {
      const { queuedBytes, writtenPages, writtenBytes, droppedPages } = writer.stats();
      return {
        queuedBytes: queuedBytes + namingBytes,
        writtenPages,
        writtenBytes,
        droppedPages,
        ...room.stats(),
        fetchedPages,
        fetchedBytes,
        fetchedTokens,
        refused: { ...refused },
        decisions: { ...decisions },
      };
    },
    async close() {
      stop.abort(new TypeError('the store is closed'));
      await retaining;
      await Promise.all(naming);
      await writer.close();
      await uses.flush().catch(onFailure);
      await store.close();
    },
  };
}
