import type { Backend } from '../backend.ts';

/** What one row holds, and for whom. */
export interface RowContent {
  readonly scope: string;
  /** What its tokens are; see `contentOf`. Longer than `length` while a sequence runs in it. */
  readonly words: Int32Array;
  /** Tokens held. */
  readonly length: number;
}

export interface RowState {
  /** The row's number in the backend; rows change places when running ones are moved together. */
  readonly row: number;
  /** A sequence runs in it. */
  readonly isRunning: boolean;
  /** null when it is empty. */
  readonly content: RowContent | null;
  /** Grows with every use: the lowest has been idle longest. */
  readonly usedAt: number;
}

/** A way to begin a sequence: which row, and where the start of its content comes from. */
export interface Placement {
  readonly row: number;
  /** Prompt tokens that need not be computed. */
  readonly cachedTokens: number;
  readonly source:
    | { readonly type: 'none' }
    /** The row holds them. */
    | { readonly type: 'row' }
    | { readonly type: 'copy'; readonly from: number }
    /** Of these, the row's own first `keep` serve on global layers. */
    | { readonly type: 'pages'; readonly keep: number };
}

export interface PlaceOptions {
  readonly rows: readonly RowState[];
  readonly scope: string;
  readonly words: Int32Array;
  /** Most tokens to reuse, outside of images. */
  readonly limit: number;
  /** The longest reusable length up to a length: never inside an image. */
  readonly cut: (length: number) => number;
  readonly canCut: Backend['canCut'];
  /** Tokens that could be restored from pages, at most `limit`, outside of images. */
  readonly pageTokens: number;
  /** Of the tokens of `row`, how many the content starts with. */
  readonly shared: (row: RowState) => number;
}

/**
 * Chooses the row for a sequence and the source of the longest start of its content: an idle row
 * that holds it, a copy of another row, or pages. Of equal ones the cheapest, in this order. A row
 * that holds much more than the shared start stays for its own next turn where another is to be had.
 * @returns null when every row runs
 */
export function place(options: PlaceOptions): Placement | null {
  const { rows, pageTokens, cut, canCut } = options;
  const idle = rows.filter(({ isRunning }) => !isRunning);
  if (idle.length === 0) return null;
  const usable = new Map<RowState, number>();
  for (const state of rows) {
    const shared = state.content?.scope === options.scope ? options.shared(state) : 0;
    const length = cut(Math.min(shared, options.limit));
    usable.set(state, length > 0 && canCut(state.row, length) ? length : 0);
  }
  const lengthOf = (state: RowState): number => usable.get(state) ?? 0;
  const source = longest(rows, lengthOf);
  const rowTokens = source === null ? 0 : lengthOf(source);
  const ownTokens = source?.content?.length ?? 0;
  const others = idle.filter((state) => state !== source).toSorted(byWorth);
  const spare = others[0];
  const cached = Math.max(rowTokens, pageTokens);
  if (source !== null && rowTokens === cached && cached > 0) {
    const continues = rowTokens * 2 >= ownTokens || spare === undefined;
    if (!source.isRunning && continues) {
      return { row: source.row, cachedTokens: rowTokens, source: { type: 'row' } };
    }
    if (spare !== undefined) {
      const copy = { type: 'copy', from: source.row } as const;
      return { row: spare.row, cachedTokens: rowTokens, source: copy };
    }
  }
  if (pageTokens > 0) {
    const target = pageTarget(idle, options);
    const shared = target.content?.scope === options.scope ? options.shared(target) : 0;
    // Images may share their first words; their tokens depend on all of them.
    const keep = cut(Math.min(shared, pageTokens));
    return { row: target.row, cachedTokens: pageTokens, source: { type: 'pages', keep } };
  }
  const target = idle.toSorted(byWorth)[0] as RowState;
  return { row: target.row, cachedTokens: 0, source: { type: 'none' } };
}

/** The row whose own next turn this is, if its content mostly is the prompt's; else the least worth. */
function pageTarget(idle: readonly RowState[], options: PlaceOptions): RowState {
  for (const state of idle) {
    if (state.content === null || state.content.scope !== options.scope) continue;
    if (options.shared(state) * 2 >= state.content.length) return state;
  }
  return idle.toSorted(byWorth)[0] as RowState;
}

function longest(
  rows: readonly RowState[],
  lengthOf: (state: RowState) => number,
): RowState | null {
  let best: RowState | null = null;
  for (const state of rows) {
    const length = lengthOf(state);
    if (length === 0) continue;
    const bestLength = best === null ? 0 : lengthOf(best);
    const isCheaper = length === bestLength && best?.isRunning === true && !state.isRunning;
    if (length > bestLength || isCheaper) best = state;
  }
  return best;
}

/** Empty rows first, then by time of use; the lower number of equals, to keep running rows together. */
function byWorth(a: RowState, b: RowState): number {
  const emptiness = Number(b.content === null) - Number(a.content === null);
  if (emptiness !== 0) return emptiness;
  if (a.content === null && b.content === null) return a.row - b.row;
  return a.usedAt - b.usedAt;
}
