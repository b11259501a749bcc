import type { KvPage } from '../backend.ts';
import type { SaidIds } from '../said.ts';

/** What keys and values depend on. */
export interface KvContent {
  readonly scope: string;
  /** One word a token; see `contentOf`. */
  readonly words: Int32Array;
  /** Images among the words, ascending: their words alone are no proof of what they show. */
  readonly images: readonly KvImage[];
  /** Keys of answers among the words whose ids are kept, see `SaidText`. */
  readonly said?: readonly string[];
}

/** Ids of a text of the assistant to look for. */
export interface WantedIds {
  /** See `SaidText`. */
  readonly key: string;
  /** More cannot spell the text. */
  readonly maxIds: number;
  /** @returns false when they do not spell the text */
  readonly take: (ids: Int32Array) => boolean;
}

export interface KvImage {
  /** Index of the first soft token. */
  readonly position: number;
  /** Of its pixels, as 64 hex digits. */
  readonly sha256: string;
}

export interface KvStoreStats {
  readonly queuedBytes: number;
  readonly writtenPages: number;
  readonly writtenBytes: number;
  /** Pages that could not be queued or written. */
  readonly droppedPages: number;
  /** Pages removed because the store had its size. */
  readonly evictedPages: number;
  /** Bytes in the store as far as this process knows; null before it has looked. */
  readonly storedBytes: number | null;
  /** May be Infinity. */
  readonly maxBytes: number;
  readonly fetchedPages: number;
  readonly fetchedBytes: number;
  readonly fetchedTokens: number;
  /** Pages that were there and not what they should be, by reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** How often the store held the start of a prompt, by what was chosen: the faster. */
  readonly decisions: { readonly restore: number; readonly recompute: number };
}

/** What a store has of the start of a content. */
export interface FetchedStart {
  /** Ascending and adjacent; local parts only where a restore needs them. */
  readonly pages: readonly KvPage[];
  /** null: it holds nothing of use. */
  readonly choice: 'restore' | 'recompute' | null;
  /** Tokens from the content's start on: that the pages bring back, or would have. */
  readonly length: number;
}

export interface KvStored {
  readonly storeTokens: number;
  readonly storeBytes: number;
}

/**
 * Pages beyond this process, such as in an object store. Nothing here fails a request: what cannot be
 * fetched is computed, what cannot be written is lost.
 */
export interface KvStore {
  /**
   * Pages of the longest start of a content that the store holds.
   * @param from tokens that need not be fetched, a whole number of pages
   * @param limit tokens that are of use
   * @param prefillTokensPerSecond how fast they could be computed instead; null: not known
   * @returns pages from `from` on; none where computing is faster
   * @throws the signal's reason
   */
  fetch(
    content: KvContent,
    from: number,
    limit: number,
    prefillTokensPerSecond: number | null,
    signal?: AbortSignal,
  ): Promise<FetchedStart>;
  /**
   * Looks for ids of answers, for no longer than part of what computing takes.
   * @param tokens that would have to be computed without
   * @throws the signal's reason
   */
  fetchSaid(
    scope: string,
    wanted: readonly WantedIds[],
    tokens: number,
    prefillTokensPerSecond: number | null,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Takes what is held of a content to be written as soon as may be; known pages and ids cost nothing. */
  keep(content: KvContent, pages: readonly KvPage[], said?: readonly SaidIds[]): void;
  /**
   * What of a content is known to be stored.
   * @param words the very array that `keep` was given
   */
  stored(words: Int32Array): KvStored;
  /**
   * Removes the pages of a content, and the ids of its answers, that none of `kept` has.
   * @throws ServeError weights_unavailable; the signal's reason
   */
  forget(content: KvContent, kept: readonly KvContent[], signal?: AbortSignal): Promise<void>;
  /** Waits until all that was taken is written or lost. */
  flush(signal?: AbortSignal): Promise<void>;
  stats(): KvStoreStats;
  close(): Promise<void>;
}
