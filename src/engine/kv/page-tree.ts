import type { KvPage } from '../backend.ts';

/** A page in the tree: up to `pageTokens` tokens behind those of its parents. */
export interface PageNode {
  readonly scope: string;
  readonly parent: PageNode | null;
  /** Ascending by content, so that the most alike are neighbours. */
  readonly children: PageNode[];
  /** What the page's tokens are; see `contentOf`. */
  words: Int32Array;
  page: KvPage;
  /** Bytes of `page`. */
  bytes: number;
}

/** The longest start of a content that the tree holds. */
export interface PageMatch {
  /** Adjacent, from position 0 on; the last may reach beyond `length`. */
  readonly nodes: readonly PageNode[];
  readonly length: number;
}

export interface PageTreeOptions {
  /** Tokens of a full page; pages start at multiples of it. */
  readonly pageTokens: number;
  /** Bytes the pages may take in all. */
  readonly budgetBytes: number;
}

export interface PageTreeStats {
  readonly count: number;
  readonly bytes: number;
  readonly written: number;
  readonly evicted: number;
}

/**
 * KV pages in host memory, as one tree of contents a scope: a node's path from the root spells all
 * tokens that its keys and values depend on, so a match is equality of contents, never of hashes.
 * The least recently used leaves go first.
 */
export interface PageTree {
  /** The longest match of `words` up to `limit`; counts as a use when `touch` is set. */
  match(scope: string, words: Int32Array, limit: number, touch: boolean): PageMatch;
  /** Whether inserting a page of this size could keep it. */
  fits(bytes: number): boolean;
  /**
   * Adds the page whose content is `words.subarray(page.start, page.start + page.count)`. Its
   * parents must be there; else, or when there is no room, nothing is kept. A page that extends one
   * without children takes its place.
   * @returns whether the tree now holds it
   */
  insert(scope: string, words: Int32Array, page: KvPage): boolean;
  /** Drops the pages that hold `words` and none of `kept`; those that others hang on stay. */
  forget(scope: string, words: Int32Array, kept: readonly Int32Array[]): void;
  /** Drops the pages of a scope. */
  clear(scope?: string): void;
  stats(): PageTreeStats;
}

export function createPageTree(options: PageTreeOptions): PageTree {
  const { pageTokens, budgetBytes } = options;
  const roots = new Map<string, PageNode[]>();
  /** In order of use. A use re-inserts a path from its end to its start, so the first is a leaf. */
  const uses = new Set<PageNode>();
  let bytes = 0;
  let written = 0;
  let evicted = 0;

  function childrenOf(scope: string, parent: PageNode | null): PageNode[] {
    return parent === null ? (roots.get(scope) ?? []) : parent.children;
  }

  function touchPath(node: PageNode | null): void {
    for (let at = node; at !== null; at = at.parent) {
      uses.delete(at);
      uses.add(at);
    }
  }

  function match(scope: string, words: Int32Array, limit: number, touch: boolean): PageMatch {
    const end = Math.min(limit, words.length);
    const nodes: PageNode[] = [];
    let length = 0;
    let parent: PageNode | null = null;
    while (length < end) {
      const [best, shared] = mostAlike(childrenOf(scope, parent), words, length, end);
      if (best === null) break;
      nodes.push(best);
      length += shared;
      if (shared < pageTokens) break;
      parent = best;
    }
    if (touch) touchPath(nodes.at(-1) ?? null);
    return { nodes, length };
  }

  function remove(node: PageNode): void {
    uses.delete(node);
    bytes -= node.bytes;
    const siblings = childrenOf(node.scope, node.parent);
    const index = siblings.indexOf(node);
    if (index >= 0) siblings.splice(index, 1);
    if (node.parent === null && siblings.length === 0) roots.delete(node.scope);
  }

  /** Makes room by dropping leaves, but none of the path that the new page hangs on. */
  function makeRoom(needed: number, keep: PageNode | null): boolean {
    if (needed > budgetBytes) return false;
    touchPath(keep);
    while (bytes + needed > budgetBytes) {
      const [oldest] = uses;
      if (oldest === undefined || isOnPath(oldest, keep)) return false;
      remove(oldest);
      evicted++;
    }
    return true;
  }

  return {
    match,
    fits: (size) => size <= budgetBytes,
    insert(scope, words, page) {
      const end = page.start + page.count;
      const { nodes, length } = match(scope, words, end, false);
      if (length >= end) {
        touchPath(nodes.at(-1) ?? null);
        return true;
      }
      if (length < page.start) return false;
      const parent = page.start === 0 ? null : (nodes[page.start / pageTokens - 1] ?? null);
      const content = words.slice(page.start, end);
      const size = page.global.byteLength + page.local.byteLength;
      const shorter = nodes[page.start / pageTokens];
      const extended =
        shorter !== undefined && shorter.words.length === length - page.start ? shorter : null;
      if (!makeRoom(size - (extended?.bytes ?? 0), extended ?? parent)) return false;
      written++;
      if (extended !== null) {
        bytes += size - extended.bytes;
        const siblings = childrenOf(scope, parent);
        siblings.splice(siblings.indexOf(extended), 1);
        Object.assign(extended, { words: content, page, bytes: size });
        siblings.splice(placeIn(siblings, content, 0, content.length), 0, extended);
        touchPath(extended);
        return true;
      }
      const node: PageNode = {
        scope,
        parent,
        children: [],
        words: content,
        page,
        bytes: size,
      };
      if (parent === null && !roots.has(scope)) roots.set(scope, []);
      const siblings = childrenOf(scope, parent);
      siblings.splice(placeIn(siblings, content, 0, content.length), 0, node);
      bytes += size;
      touchPath(node);
      return true;
    },
    forget(scope, words, kept) {
      const nodesOf = (content: Int32Array): readonly PageNode[] =>
        match(scope, content, content.length, false).nodes;
      const staying = new Set(kept.flatMap(nodesOf));
      for (const node of nodesOf(words).toReversed()) {
        if (node.children.length > 0 || staying.has(node)) return;
        remove(node);
      }
    },
    clear(scope) {
      for (const node of uses) {
        if (scope === undefined || node.scope === scope) remove(node);
      }
    },
    stats: () => ({ count: uses.size, bytes, written, evicted }),
  };
}

/** The page that shares the longest start with `words` from `start` on, and how many words those are. */
function mostAlike(
  siblings: readonly PageNode[],
  words: Int32Array,
  start: number,
  end: number,
): readonly [PageNode | null, number] {
  const place = placeIn(siblings, words, start, end);
  let best: PageNode | null = null;
  let most = 0;
  for (const neighbour of [siblings[place - 1], siblings[place]]) {
    if (neighbour === undefined) continue;
    const shared = sharedWords(neighbour.words, words, start, end);
    if (shared <= most) continue;
    best = neighbour;
    most = shared;
  }
  return [best, most];
}

/** Where a page with words [start, end) of `words` belongs among ascending ones. */
function placeIn(
  siblings: readonly PageNode[],
  words: Int32Array,
  start: number,
  end: number,
): number {
  let low = 0;
  let high = siblings.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const page = siblings[middle]?.words ?? words;
    const shared = sharedWords(page, words, start, end);
    const isBefore =
      shared === page.length ||
      (shared < end - start && (page[shared] ?? 0) < (words[start + shared] ?? 0));
    if (isBefore) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many of a page's words are those of `words` from `start` on. */
function sharedWords(page: Int32Array, words: Int32Array, start: number, end: number): number {
  const limit = Math.min(page.length, end - start);
  let at = 0;
  while (at < limit && page[at] === words[start + at]) at++;
  return at;
}

function isOnPath(node: PageNode, path: PageNode | null): boolean {
  for (let at = path; at !== null; at = at.parent) if (at === node) return true;
  return false;
}

/**
 * The longest length up to `limit` at which a row can be restored from matched pages: the window
 * before it must be there on local layers.
 * @param windowTokens tokens a local layer sees, the newest included
 */
export function restorableLength(
  { nodes, length }: PageMatch,
  limit: number,
  windowTokens: number,
): number {
  let best = 0;
  /** Local layers are held from here to the end of the page looked at. */
  let heldFrom = 0;
  for (const { page } of nodes) {
    const pageEnd = page.start + page.count;
    // A page whose local part starts late breaks the run of held positions.
    if (page.localStart > page.start) heldFrom = page.localStart;
    const end = Math.min(pageEnd, length, limit);
    const least = heldFrom === 0 ? 0 : heldFrom + windowTokens - 1;
    if (end >= least) best = Math.max(best, end);
    if (pageEnd >= limit) break;
  }
  return best;
}
