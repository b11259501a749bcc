import type { Backend, KvPage } from '../backend.ts';
import { createPageTree, restorableLength, type PageTreeStats } from './page-tree.ts';
import type { RowContent } from './rows.ts';

export interface HostPagesOptions {
  readonly backend: Backend;
  /** Tokens of a full page. */
  readonly pageTokens: number;
  /** Bytes of host memory; 0 keeps none. */
  readonly budgetBytes: number;
}

/** Start of a content that pages can bring back. */
export interface Restorable {
  readonly length: number;
  readonly pages: readonly KvPage[];
}

/** Copies of what rows hold, in host memory, page by page. */
export interface HostPages {
  /**
   * The longest start of `words` that a row can be restored to.
   * @param cut the longest allowed length up to a length
   * @param touch counts it as a use
   */
  restorable(
    scope: string,
    words: Int32Array,
    limit: number,
    cut: (length: number) => number,
    touch: boolean,
  ): Restorable;
  /** Writes the full pages of a row from token `from` on that are not there yet. */
  keepFull(row: number, content: RowContent, from: number): Promise<void>;
  /** Writes the tokens of a row behind its last full page. */
  keepTail(row: number, content: RowContent): Promise<void>;
  /** The pages that hold the start of a content, ascending. */
  pagesOf(scope: string, words: Int32Array): readonly KvPage[];
  /** Takes pages from elsewhere, ascending, whose parents are here or among them. */
  add(scope: string, words: Int32Array, pages: readonly KvPage[]): void;
  /** How many tokens from the start are held, and the bytes of their pages. */
  held(scope: string, words: Int32Array): { readonly tokens: number; readonly bytes: number };
  forget(scope: string, words: Int32Array, kept: readonly Int32Array[]): void;
  clear(): void;
  stats(): PageTreeStats;
}

export function createHostPages(options: HostPagesOptions): HostPages {
  const { backend, pageTokens, budgetBytes } = options;
  const { windowTokens } = backend.config.text;
  const tree = createPageTree({ pageTokens, budgetBytes });

  async function write(
    row: number,
    { scope, words }: RowContent,
    start: number,
    end: number,
  ): Promise<void> {
    const held = tree.match(scope, words, end, true).length;
    const { global, local } = backend.kvTokenBytes;
    // Without its parents a page cannot be reached.
    if (held >= end || held < start || !tree.fits((end - start) * (global + local))) return;
    tree.insert(scope, words, await backend.readKv(row, start, end));
  }

  return {
    restorable(scope, words, limit, cut, touch) {
      if (limit === 0 || budgetBytes === 0) return { length: 0, pages: [] };
      const found = tree.match(scope, words, limit, touch);
      let length = Math.min(found.length, limit);
      // An image in the way moves the cut back, and there the window must be held again.
      for (;;) {
        const next = cut(restorableLength(found, length, windowTokens));
        if (next === length || next === 0) {
          const pages = found.nodes.map(({ page }) => page).filter(({ start }) => start < next);
          return { length: next, pages };
        }
        length = next;
      }
    },
    async keepFull(row, content, from) {
      if (budgetBytes === 0) return;
      const end = Math.floor(content.length / pageTokens) * pageTokens;
      for (let start = Math.floor(from / pageTokens) * pageTokens; start < end;) {
        await write(row, content, start, start + pageTokens);
        start += pageTokens;
      }
    },
    async keepTail(row, content) {
      if (budgetBytes === 0) return;
      const start = Math.floor(content.length / pageTokens) * pageTokens;
      if (start < content.length) await write(row, content, start, content.length);
    },
    pagesOf: (scope, words) =>
      tree.match(scope, words, words.length, false).nodes.map(({ page }) => page),
    add(scope, words, pages) {
      for (const page of pages) {
        const { global, local } = backend.kvTokenBytes;
        if (!tree.fits(page.count * (global + local)) || !tree.insert(scope, words, page)) return;
      }
    },
    held(scope, words) {
      const { nodes, length } = tree.match(scope, words, words.length, false);
      return { tokens: length, bytes: nodes.reduce((sum, node) => sum + node.bytes, 0) };
    },
    forget: (scope, words, kept) => tree.forget(scope, words, kept),
    clear: () => tree.clear(),
    stats: () => tree.stats(),
  };
}
