import type { KvPage } from '../../src/engine/backend.ts';
import type { KvContent, KvImage } from '../../src/engine/kv/kv-store.ts';
import { createPageCodec, type PageCodec } from '../../src/engine/kv/store/page-codec.ts';
import { createPageFinder } from '../../src/engine/kv/store/page-finder.ts';
import { createPageNamer, type PageName } from '../../src/engine/kv/store/page-names.ts';
import {
  createPageReader,
  type FetchedPages,
  type PageReader,
  type PageRequest,
} from '../../src/engine/kv/store/page-reader.ts';
import {
  createPageWriter,
  type PageWriter,
  type PageWriterOptions,
} from '../../src/engine/kv/store/page-writer.ts';
import { createStoreRoom } from '../../src/engine/kv/store/retention/store-room.ts';
import { createUseBook } from '../../src/engine/kv/store/retention/use-book.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { createSimulatedClock } from './fake-clock.ts';
import { faultyStore, type FaultyStore } from './faulty-store.ts';
import { createSeededRandom, type SeededRandom } from './seeded-random.ts';

export const KV_BYTES = { global: 3, local: 5 };

export interface PageHarness {
  readonly store: FaultyStore;
  readonly codec: PageCodec;
  readonly reader: PageReader;
  readonly writer: PageWriter;
  /** Names of the pages that [0, length) is cut into, the last one perhaps partial. */
  readonly namesOf: (content: KvContent, length: number) => Promise<readonly PageName[]>;
  /** Writes [0, length). Local parts begin where `localStart` tells, or with their page. */
  readonly save: (
    content: KvContent,
    length: number,
    localStart?: (start: number, end: number) => number,
  ) => Promise<void>;
  readonly fetch: (
    request: PageRequest,
    deadlineMs?: number,
    signal?: AbortSignal,
  ) => Promise<FetchedPages>;
}

export interface PageHarnessOptions {
  readonly pageTokens: number;
  readonly windowTokens: number;
  readonly fingerprint?: string;
  readonly store?: FaultyStore;
  readonly random?: SeededRandom;
  readonly clock?: Clock;
  readonly inFlight?: number;
  readonly writer?: Partial<PageWriterOptions>;
}

export function createPageHarness(options: PageHarnessOptions): PageHarness {
  const { pageTokens, windowTokens } = options;
  const fingerprint = options.fingerprint ?? 'model/kind/precision';
  const inFlight = options.inFlight ?? 4;
  const clock = options.clock ?? createSimulatedClock();
  const store = options.store ?? faultyStore(options.random ?? createSeededRandom(1));
  const namer = createPageNamer({ fingerprint });
  const codec = createPageCodec({ fingerprint, kvTokenBytes: KV_BYTES });
  const finder = createPageFinder({ store, inFlight });
  const reader = createPageReader({
    store,
    namer,
    codec,
    finder,
    clock,
    pageTokens,
    windowTokens,
    inFlight,
  });
  const uses = createUseBook({ store, clock, instance: 'harness' });
  const writer = createPageWriter({
    store,
    room: createStoreRoom({ store, clock, uses, maxBytes: Number.POSITIVE_INFINITY }),
    codec,
    clock,
    maxQueueBytes: 1e6,
    inFlight,
    ...options.writer,
  });

  async function namesOf(content: KvContent, length: number): Promise<readonly PageName[]> {
    const chain = await namer.chain(content, pageTokens, length);
    const rest = length % pageTokens;
    return rest === 0 ? chain.full : [...chain.full, await chain.next(chain.full.length, rest)];
  }

  return {
    store,
    codec,
    reader,
    writer,
    namesOf,
    async save(content, length, localStart = (start) => start) {
      for (const name of await namesOf(content, length)) {
        const at = localStart(name.start, name.start + name.count);
        writer.enqueue(pageOf(content, name.start, name.count, at), name);
      }
      await writer.idle();
    },
    async fetch(request, deadlineMs, signal) {
      const found = await reader.find(request, deadlineMs, signal);
      return reader.fetch(found, deadlineMs, signal);
    },
  };
}

export function contentWith(
  words: readonly number[],
  scope = '',
  images: readonly KvImage[] = [],
): KvContent {
  return { scope, words: Int32Array.from(words), images };
}

/** A page whose bytes depend on all words up to each of its tokens, and on the images and the scope. */
export function pageOf(
  { scope, words, images }: KvContent,
  start: number,
  count: number,
  localStart = start,
): KvPage {
  const end = start + count;
  const global = new Uint8Array(count * KV_BYTES.global);
  const local = new Uint8Array((end - localStart) * KV_BYTES.local);
  let state = 7;
  for (const letter of scope) state = mix(state, letter.codePointAt(0) ?? 0);
  for (let at = 0; at < end; at++) {
    state = mix(state, words[at] ?? 0);
    const image = images.find(({ position }) => position === at);
    for (const letter of image?.sha256 ?? '') state = mix(state, letter.codePointAt(0) ?? 0);
    const bytes = [state, state >> 8, state >> 16, state >> 24, at];
    if (at >= start) global.set(bytes.slice(0, KV_BYTES.global), (at - start) * KV_BYTES.global);
    if (at >= localStart) local.set(bytes, (at - localStart) * KV_BYTES.local);
  }
  return { start, count, global, localStart, local };
}

function mix(state: number, value: number): number {
  return Math.imul(state ^ value, 0x9e37_79b1) ^ (state >>> 15);
}
