import type { Backend, KvPage } from '../backend.ts';
import { commonPrefix, outsideImages } from './content.ts';
import { gather, type Swap } from './gather.ts';
import { createHostPages } from './host-pages.ts';
import type { PageTreeStats } from './page-tree.ts';
import type { KvUser } from './kv-user.ts';
import { createRow, heldTokens, type Row } from './memory-row.ts';
import { place, type Placement } from './rows.ts';

export interface KvMemoryOptions {
  readonly backend: Backend;
  readonly tokensPerImage: number;
  /** Tokens of a page; default 256. */
  readonly pageTokens?: number;
  /** Bytes of host memory for pages; 0 keeps none. */
  readonly budgetBytes: number;
  /** A move of rows or pages failed; the sequence computes instead. */
  readonly onFailure: (error: unknown) => void;
}

export interface KvMemoryStats {
  readonly warmRows: number;
  readonly restored: number;
  readonly hits: { readonly row: number; readonly copy: number; readonly pages: number };
  readonly queryTokens: number;
  readonly pages: PageTreeStats;
}

/**
 * Where keys and values live: in rows on the device, warm after their sequence has ended, and in
 * pages in host memory, written as they fill. Only one call that returns a promise at a time, and
 * none beside a step.
 */
export interface KvMemory {
  readonly hasIdleRow: boolean;
  /** The best way to begin; null while every row runs. Changes nothing. */
  find(user: KvUser): Placement | null;
  /**
   * Whether waiting pays: a running prompt is about to hold much more of this content than
   * `cachedTokens`.
   */
  isPromised(user: KvUser, running: readonly KvUser[], cachedTokens: number): boolean;
  /** Takes the row and brings in what is reused; sets `row` at once and `computed` when done. */
  acquire(user: KvUser, placement: Placement): Promise<void>;
  /** Writes the pages that a step has filled. */
  keepPages(users: readonly KvUser[]): Promise<void>;
  /** Writes all that is in the user's row and in no page yet. */
  save(user: KvUser): Promise<void>;
  /** Gives the row back. It stays warm, unless a failure leaves in doubt what is in it. */
  release(user: KvUser, isIntact: boolean): void;
  /** Moves running rows next to each other once gaps between them have cost more than moving. */
  gather(running: readonly KvUser[]): void;
  /** Pages in host memory that hold the start of `words`, ascending. */
  pagesOf(scope: string, words: Int32Array): readonly KvPage[];
  /** Takes pages from elsewhere into host memory. */
  addPages(scope: string, words: Int32Array, pages: readonly KvPage[]): void;
  /** How much of a content rows and host memory hold, counted from its start. */
  where(scope: string, words: Int32Array): KvPlaces;
  /** Drops a content from idle rows and host memory, except the starts it shares with `kept`. */
  forget(scope: string, words: Int32Array, kept: readonly Int32Array[]): void;
  /** Empties idle rows and drops pages. */
  clear(): void;
  stats(): KvMemoryStats;
}

export interface KvPlaces {
  readonly deviceTokens: number;
  readonly hostTokens: number;
  readonly hostBytes: number;
}

/** 256 tokens: the prefill of a page takes far longer than to copy it. */
export const PAGE_TOKENS = 256;
/** Waiting for another's prompt saves at least this many tokens. */
const PROMISED_TOKENS = 32;

/** Estimated, not measured: a move costs about as much as so many needless rows in a decode. */
const MOVE_COST_STEPS = 8;

export function createKvMemory(options: KvMemoryOptions): KvMemory {
  const { backend, tokensPerImage, budgetBytes } = options;
  const pageTokens = options.pageTokens ?? PAGE_TOKENS;
  const pages = createHostPages({ backend, pageTokens, budgetBytes });
  const rows = Array.from({ length: backend.rowCount }, (_, row) => createRow(row));
  const hits = { row: 0, copy: 0, pages: 0 };
  let queryTokens = 0;
  let restored = 0;
  let clock = 0;
  /** Row-steps spent on rows between running ones since they were last moved. */
  let wastedSteps = 0;

  const rowOf = (index: number): Row => rows[index] as Row;
  const cutFor =
    (user: KvUser) =>
    (length: number): number =>
      outsideImages(length, user.imagePositions, tokensPerImage);

  const restorable = (user: KvUser, touch: boolean): ReturnType<typeof pages.restorable> =>
    pages.restorable(user.scope, user.words, user.reusableTokens, cutFor(user), touch);

  function find(user: KvUser): Placement | null {
    return place({
      rows,
      scope: user.scope,
      words: user.words,
      limit: user.reusableTokens,
      cut: cutFor(user),
      canCut: (row, length) => backend.canCut(row, length),
      pageTokens: restorable(user, false).length,
      shared: ({ content }) =>
        content === null
          ? 0
          : commonPrefix(content.words, user.words, Math.min(content.length, user.reusableTokens)),
    });
  }

  /** Pages are spare copies: where one cannot be written, something is computed again later. */
  async function saveTail({ row, content }: Row): Promise<void> {
    if (content === null) return;
    try {
      await pages.keepTail(row, content);
    } catch (error) {
      options.onFailure(error);
    }
  }

  async function bringIn(user: KvUser, placement: Placement): Promise<number> {
    const { row, cachedTokens, source } = placement;
    switch (source.type) {
      case 'none':
        return backend.truncate(row, 0);
      case 'row':
        return backend.truncate(row, cachedTokens);
      case 'copy':
        backend.copyRow(source.from, row, cachedTokens);
        return cachedTokens;
      case 'pages': {
        // Looked up again: writing the tail of what leaves the row can push pages out.
        const found = restorable(user, true);
        if (found.length === 0) return backend.truncate(row, 0);
        const keep = Math.min(source.keep, found.length);
        await backend.writeKv(row, found.pages, found.length, keep);
        restored += found.pages.length;
        return found.length;
      }
      default:
        return source satisfies never;
    }
  }

  function swap({ a, b }: Swap): void {
    backend.swapRows(a, b);
    const [first, second] = [rowOf(a), rowOf(b)];
    for (const [state, row] of [
      [first, b],
      [second, a],
    ] as const) {
      state.row = row;
      rows[row] = state;
      if (state.user !== null) state.user.row = row;
    }
  }

  function empty(state: Row): void {
    state.warm = null;
    try {
      backend.truncate(state.row, 0);
    } catch (error) {
      // A row that stays dirty fails its next user with a mismatching start: loud, not wrong.
      options.onFailure(error);
    }
  }

  return {
    get hasIdleRow() {
      return rows.some(({ isRunning }) => !isRunning);
    },
    find,
    isPromised(user, running, cachedTokens) {
      const wanted = cachedTokens + PROMISED_TOKENS;
      if (user.reusableTokens < wanted) return false;
      return running.some((other) => {
        if (other.scope !== user.scope || other.computed >= other.prefillTokens) return false;
        const limit = Math.min(other.prefillTokens, user.reusableTokens);
        const shared = cutFor(user)(commonPrefix(other.words, user.words, limit));
        return shared >= wanted && shared > other.computed;
      });
    },
    async acquire(user, placement) {
      const state = rowOf(placement.row);
      const { source } = placement;
      user.row = placement.row;
      state.isRunning = true;
      state.usedAt = ++clock;
      // A sequence that resumes found nothing that its client did not pay for already.
      const isCounted = !user.isResuming && user.reusableTokens > 0;
      if (isCounted) queryTokens += user.prefillTokens;
      try {
        if (source.type !== 'row') await saveTail(state);
        user.computed = await bringIn(user, placement);
        if (isCounted && source.type !== 'none') hits[source.type] += user.computed;
      } catch (error) {
        options.onFailure(error);
        empty(state);
        user.computed = 0;
      }
      state.warm = null;
      state.user = user;
      state.offeredTokens = 0;
    },
    async keepPages(users) {
      for (const { row } of users) {
        if (row === null) continue;
        const state = rowOf(row);
        const { content, offeredTokens } = state;
        // Most steps fill no page: they must not cost a look at the whole content.
        if (content === null || content.length - offeredTokens < pageTokens) continue;
        state.offeredTokens = Math.floor(content.length / pageTokens) * pageTokens;
        try {
          await pages.keepFull(row, content, offeredTokens);
        } catch (error) {
          options.onFailure(error);
        }
      }
    },
    async save(user) {
      if (user.row === null) return;
      await saveTail(rowOf(user.row));
    },
    release(user, isIntact) {
      if (user.row === null) return;
      const state = rowOf(user.row);
      user.row = null;
      state.isRunning = false;
      state.user = null;
      state.usedAt = ++clock;
      if (isIntact && user.computed > 0) {
        const words = user.words.slice(0, user.computed);
        state.warm = { scope: user.scope, words, length: user.computed };
      } else {
        empty(state);
      }
    },
    gather(running) {
      const moves = gather(
        backend.rowCount,
        running.flatMap(({ row }) => (row === null ? [] : [row])),
      );
      wastedSteps = moves.gaps === 0 ? 0 : wastedSteps + moves.gaps;
      if (wastedSteps < MOVE_COST_STEPS) return;
      wastedSteps = 0;
      for (const move of moves.swaps) swap(move);
    },
    pagesOf: (scope, words) => pages.pagesOf(scope, words),
    addPages: (scope, words, given) => pages.add(scope, words, given),
    where(scope, words) {
      const deviceTokens = Math.max(0, ...rows.map((state) => heldTokens(state, scope, words)));
      const { tokens, bytes } = pages.held(scope, words);
      return { deviceTokens, hostTokens: tokens, hostBytes: bytes };
    },
    forget(scope, words, kept) {
      for (const state of rows) {
        const { warm } = state;
        if (state.isRunning || warm === null || warm.scope !== scope) continue;
        const staying = Math.max(
          0,
          ...kept.map((other) => commonPrefix(other, warm.words, warm.length)),
        );
        // A row is one conversation: whoever shares its start has pages, or computes it again.
        if (heldTokens(state, scope, words) > staying) empty(state);
      }
      pages.forget(scope, words, kept);
    },
    clear() {
      for (const state of rows) if (!state.isRunning && state.warm !== null) empty(state);
      pages.clear();
    },
    stats: () => ({
      warmRows: rows.filter(({ warm }) => warm !== null).length,
      restored,
      hits: { ...hits },
      queryTokens,
      pages: pages.stats(),
    }),
  };
}
