import type { Clock } from '../../../lib/clock.ts';
import { runBounded } from '../../../lib/run-bounded.ts';
import type { ObjectStore } from '../../../weights/object-store.ts';
import type { KvPage } from '../../backend.ts';
import type { KvContent } from '../kv-store.ts';
import { withoutLocal, type PageCodec } from './page-codec.ts';
import {
  createPageFetch,
  fetchingPage,
  lacksLocal,
  type FetchingPage,
  type RefusedPage,
} from './page-fetch.ts';
import type { PageFinder } from './page-finder.ts';
import type { PageChain, PageName, PageNamer } from './page-names.ts';
import { isInWindow, restorableEnd, type PageSpan } from './restorable-end.ts';
import { withinMs } from './within-ms.ts';

export interface PageReaderOptions {
  readonly store: ObjectStore;
  readonly namer: PageNamer;
  readonly codec: PageCodec;
  readonly finder: PageFinder;
  readonly clock: Clock;
  readonly pageTokens: number;
  readonly windowTokens: number;
  /** Reads at once. */
  readonly inFlight: number;
}

export interface PageRequest {
  readonly content: KvContent;
  /** Tokens that are there already, a whole number of pages. */
  readonly from: number;
  /** Local layers are there from here to `from`; default: the window before `from`. */
  readonly heldLocalFrom?: number;
  /** Tokens that are of use. */
  readonly limit: number;
  /** The longest allowed length up to a length: not inside an image. Default: any. */
  readonly cut?: (length: number) => number;
}

/** What the store has of a content, as far as names tell. */
export interface FoundPages {
  readonly request: PageRequest;
  readonly chain: PageChain;
  /** From `from` on, ascending and adjacent. */
  readonly names: readonly PageName[];
  /** Up to which they would restore, were all of them whole. */
  readonly length: number;
}

export interface FetchedPages {
  /** From `from` on, ascending and adjacent; without local part where none is needed. */
  readonly pages: readonly KvPage[];
  /** Tokens that a row can be restored to; `from` when the store has nothing of use. */
  readonly length: number;
  /** Moved, those of refused pages included. */
  readonly bytes: number;
  readonly ms: number;
  readonly refused: readonly RefusedPage[];
}

/** Brings pages back. What is missing, bad or late shortens what is had, and never fails. */
export interface PageReader {
  /**
   * @param deadlineMs after which nothing is found; default none
   * @throws the signal's reason
   */
  find(request: PageRequest, deadlineMs?: number, signal?: AbortSignal): Promise<FoundPages>;
  /**
   * @param deadlineMs after which only what is there counts; default none
   * @throws the signal's reason
   */
  fetch(found: FoundPages, deadlineMs?: number, signal?: AbortSignal): Promise<FetchedPages>;
}

/** Of a deadline, what the first pass may take: the rest is for local parts of a shorter start. */
const FIRST_PASS_SHARE = 0.75;

/** Places to look for a partial page at when others are lost; each costs a listing. */
const MAX_PLACES = 8;

export function createPageReader(options: PageReaderOptions): PageReader {
  const { namer, finder, clock, pageTokens, windowTokens, inFlight } = options;

  function lengthOf(request: PageRequest, spans: readonly PageSpan[]): number {
    const { from, limit } = request;
    const heldLocalFrom = request.heldLocalFrom ?? Math.max(0, from - windowTokens + 1);
    const cut = request.cut ?? ((length: number): number => length);
    return restorableEnd({ spans, from, heldLocalFrom, limit, windowTokens, cut });
  }

  async function partialBehind(
    { content, limit }: PageRequest,
    chain: PageChain,
    pages: number,
    not: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<PageName | null> {
    const start = pages * pageTokens;
    const words = Math.min(content.words.length - start, pageTokens - 1);
    if (start >= limit || words < 1) return null;
    return finder.findPartial({ chain, pages, words, enough: limit - start, not }, signal);
  }

  async function fetch(
    { request, chain, names, length: hoped }: FoundPages,
    deadlineMs?: number,
    signal?: AbortSignal,
  ): Promise<FetchedPages> {
    const startedMs = clock.now();
    const reads = createPageFetch(options.store, options.codec);
    const all = names.map(fetchingPage);
    const first = request.from / pageTokens;

    const leftMs = (share = 1): number | null =>
      deadlineMs === undefined ? null : startedMs + deadlineMs * share - clock.now();
    const eachOf = (
      items: readonly FetchingPage[],
      ms: number | null,
      task: (each: FetchingPage, within: AbortSignal) => Promise<void>,
    ): Promise<unknown> => {
      const run = async (index: number, within: AbortSignal): Promise<void> => {
        const each = items[index];
        if (each !== undefined) await task(each, within);
      };
      const lanes = (within: AbortSignal): Promise<void> =>
        runBounded(items.length, inFlight, run, within);
      return withinMs(clock, ms, lanes, signal);
    };

    /** Fetches the local parts that the longest possible restore needs, until none is lost. */
    async function settle(had: readonly FetchingPage[]): Promise<number> {
      for (;;) {
        const length = lengthOf(request, had.map(spanOf));
        const needed = had.filter(
          (each) => isInWindow(each.name, length, windowTokens) && lacksLocal(each),
        );
        if (length <= request.from || needed.length === 0) return length;
        await eachOf(needed, leftMs(), (each, within) => reads.readLocal(each, within));
        for (const each of needed) if (each.page === null) each.isLocalLost = true;
      }
    }

    await eachOf(all, leftMs(FIRST_PASS_SHARE), async (each, within) => {
      await reads.readHead(each, within);
      if (isInWindow(each.name, hoped, windowTokens)) await reads.readLocal(each, within);
    });
    const had = takeWhile(all, ({ head }) => head !== null);
    let best = { pages: had, length: await settle(had) };

    // Where a page is lost, a partial one may stand beside it.
    const tried = new Set(names.map(({ key }) => key));
    const full = had.filter(({ name }) => name.count === pageTokens).length;
    while (best.length < hoped) {
      const lowest = Math.max(Math.ceil(best.length / pageTokens), first + full - MAX_PLACES);
      const look = async (within: AbortSignal): Promise<PageName | null> => {
        for (let pages = first + full; pages >= lowest; pages--) {
          const name = await partialBehind(request, chain, pages, tried, within);
          if (name !== null) return name;
        }
        return null;
      };
      const partial = await withinMs(clock, leftMs(), look, signal);
      if (partial === null) break;
      const added = fetchingPage(partial);
      tried.add(added.name.key);
      all.push(added);
      await eachOf([added], leftMs(), (each, within) => reads.readHead(each, within));
      if (added.head === null) continue;
      const pages = [...had.filter(({ name }) => name.start < added.name.start), added];
      const length = await settle(pages);
      if (length > best.length) best = { pages, length };
    }

    for (const each of all) {
      const isLost = each.head === null || each.isLocalLost;
      if (isLost && !reads.refused.has(each.name.key)) reads.refused.set(each.name.key, 'late');
    }
    const used = best.pages.filter(({ name }) => name.start < best.length);
    return {
      pages: used.flatMap(({ head, page }) => page ?? (head === null ? [] : withoutLocal(head))),
      length: best.length,
      bytes: reads.bytes,
      ms: clock.now() - startedMs,
      refused: [...reads.refused].map(([key, reason]) => ({ key, reason })),
    };
  }

  return {
    async find(request, deadlineMs, signal) {
      const { content, from, limit } = request;
      if (!Number.isInteger(from / pageTokens) || from < 0) {
        throw new RangeError(`from must be a whole number of pages, not ${from} tokens`);
      }
      const chain = await namer.chain(content, pageTokens, content.words.length);
      const look = async (within: AbortSignal): Promise<readonly PageName[]> => {
        const first = from / pageTokens;
        const useful = Math.ceil(limit / pageTokens);
        const pages = await finder.countFull(chain, first, useful, within);
        const full = chain.full.slice(first, pages);
        const partial = await partialBehind(request, chain, pages, new Set(), within);
        return partial === null ? full : [...full, partial];
      };
      const names = (await withinMs(clock, deadlineMs ?? null, look, signal)) ?? [];
      // Most pages were written as they filled, with their local part from their start on.
      const whole = names.map(({ start, count }) => ({ start, count, localStart: start }));
      const length = lengthOf(request, whole);
      return { request, chain, names: names.filter(({ start }) => start < length), length };
    },
    fetch,
  };
}

/** What a page could still give. */
function spanOf({ name, head, page, isLocalLost }: FetchingPage): PageSpan {
  const { start, count } = name;
  const isLocal = page !== null || (head !== null && !isLocalLost);
  return { start, count, localStart: isLocal && head !== null ? head.localStart : start + count };
}

function takeWhile<T>(values: readonly T[], holds: (value: T) => boolean): readonly T[] {
  const end = values.findIndex((value) => !holds(value));
  return end < 0 ? values : values.slice(0, end);
}
