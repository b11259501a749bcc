/** What is had of a page, or could be. */
export interface PageSpan {
  readonly start: number;
  readonly count: number;
  /** Local layers are had from here on; the page's end when not at all. */
  readonly localStart: number;
}

export interface RestorableQuery {
  /** Ascending and adjacent, from `from` on. */
  readonly spans: readonly PageSpan[];
  /** Tokens that are there without them. */
  readonly from: number;
  /** Local layers are had from here to `from`. */
  readonly heldLocalFrom: number;
  readonly limit: number;
  readonly windowTokens: number;
  /** The longest allowed length up to a length. */
  readonly cut: (length: number) => number;
}

/**
 * The longest length at which a row can be restored: the window before it is had on local layers.
 * @returns `from` at least
 */
export function restorableEnd(query: RestorableQuery): number {
  const { spans, from, windowTokens, cut } = query;
  let length = query.limit;
  // A cut that moves the length back moves the window back too.
  while (length > from) {
    let best = from;
    let heldFrom = query.heldLocalFrom;
    for (const { start, count, localStart } of spans) {
      if (start >= length) break;
      if (localStart > start) heldFrom = localStart;
      const end = Math.min(start + count, length);
      const least = heldFrom === 0 ? 0 : heldFrom + windowTokens - 1;
      if (end >= least) best = end;
    }
    const next = cut(best);
    if (next === length) return length;
    length = next;
  }
  return from;
}

/** Whether a page holds part of the window before `length`. */
export function isInWindow(
  { start, count }: Pick<PageSpan, 'start' | 'count'>,
  length: number,
  windowTokens: number,
): boolean {
  return start < length && start + count > length - windowTokens + 1;
}
