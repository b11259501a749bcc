import { abortable } from '../../../lib/abortable.ts';
import { runBounded } from '../../../lib/run-bounded.ts';
import type { ObjectSource } from '../../../weights/object-source.ts';
import type { ObjectStore } from '../../../weights/object-store.ts';
import { parsePageKey, type PageChain, type PageName } from './page-names.ts';

export interface PageFinderOptions {
  readonly store: ObjectStore;
  /** Requests at once. */
  readonly inFlight: number;
  /** Names of a listing to look at for a partial last page; default 1000. */
  readonly maxListed?: number;
  /** Hears how large a page is, or null for what is missing. */
  readonly onHead?: (key: string, sizeBytes: number | null) => void;
}

/** Looks which pages of a content the store has. Failing requests count as absence. */
export interface PageFinder {
  /**
   * Where the run of full pages ends, if none is missing between two that are there.
   * @param from pages not to look for
   * @param to the number of pages that would be of use
   * @returns number of pages, `from` at least
   * @throws the signal's reason
   */
  countFull(chain: PageChain, from: number, to: number, signal?: AbortSignal): Promise<number>;
  /** @throws the signal's reason */
  findPartial(query: PartialQuery, signal?: AbortSignal): Promise<PageName | null>;
}

/** The longest partial page behind full ones that is a start of the content. */
export interface PartialQuery {
  readonly chain: PageChain;
  /** Full pages before it. */
  readonly pages: number;
  /** Words of the content that are there. */
  readonly words: number;
  /** Words that are of use: the shortest page with as many is as good as longer ones. */
  readonly enough: number;
  /** Keys that were tried before. */
  readonly not: ReadonlySet<string>;
}

const DEFAULT_MAX_LISTED = 1000;

export function createPageFinder(options: PageFinderOptions): PageFinder {
  const { store, inFlight } = options;
  const maxListed = options.maxListed ?? DEFAULT_MAX_LISTED;

  async function isThere({ key }: PageName, signal: AbortSignal): Promise<boolean> {
    const info = await headOrNull(store, key, AbortSignal.any([signal]));
    options.onHead?.(key, info?.sizeBytes ?? null);
    return info !== null;
  }

  return {
    async countFull(chain, from, to, signal) {
      /** Pages known to be there, and the first known to be missing. */
      let low = from;
      let high = Math.min(to, chain.full.length);
      while (low < high) {
        const probes = spread(low, high, inFlight);
        const found = Array.from<boolean>({ length: probes.length }).fill(false);
        const probe = async (index: number, each: AbortSignal): Promise<void> => {
          const name = chain.full[probes[index] ?? 0];
          found[index] = name !== undefined && (await isThere(name, each));
        };
        await runBounded(probes.length, inFlight, probe, signal);
        const firstMissing = found.indexOf(false);
        const lastFound = firstMissing < 0 ? probes.length - 1 : firstMissing - 1;
        if (lastFound >= 0) low = (probes[lastFound] ?? 0) + 1;
        if (firstMissing >= 0) high = probes[firstMissing] ?? high;
      }
      return low;
    },
    async findPartial({ chain, pages, words, enough, not }, signal) {
      const listed = new Map<number, Set<string>>();
      try {
        let seen = 0;
        for await (const { key } of store.listPrefix(chain.prefix(pages), signal)) {
          const parts = parsePageKey(key);
          if (parts !== null && parts.count <= words && !not.has(key)) {
            const keys = listed.get(parts.count) ?? new Set();
            listed.set(parts.count, keys.add(key));
          }
          if (++seen >= maxListed) break;
        }
      } catch {
        signal?.throwIfAborted();
      }
      const lengths = [...listed.keys()].toSorted((a, b) => a - b);
      const long = lengths.filter((count) => count >= enough);
      const short = lengths.filter((count) => count < enough).toReversed();
      for (const count of [...long, ...short]) {
        signal?.throwIfAborted();
        const name = await chain.next(pages, count);
        if (listed.get(count)?.has(name.key) === true) return name;
      }
      return null;
    },
  };
}

/** What `head` answers; null also when it cannot be told. */
export async function headOrNull(
  store: ObjectSource,
  key: string,
  signal?: AbortSignal,
): ReturnType<ObjectSource['head']> {
  try {
    return await abortable(store.head(key, signal), signal);
  } catch {
    signal?.throwIfAborted();
    return null;
  }
}

/**
 * Up to `count` indexes of [low, high), ascending and evenly spread, first and last among them: a
 * round trip of a store takes longer than several requests at once, and most chains are there
 * as a whole or not at all.
 */
function spread(low: number, high: number, count: number): readonly number[] {
  const length = high - low;
  if (length <= count) return Array.from({ length }, (_, index) => low + index);
  if (count === 1) return [low + ((length - 1) >> 1)];
  const step = (length - 1) / (count - 1);
  return Array.from({ length: count }, (_, index) => low + Math.floor(index * step));
}
