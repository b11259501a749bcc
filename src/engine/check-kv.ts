import type { Backend, KvPage } from './backend.ts';

export interface KvLimits extends Pick<Backend, 'config' | 'rowTokens' | 'kvTokenBytes'> {
  /** Tokens the row holds before the call. */
  readonly heldTokens: number;
}

/**
 * For backends: checks what `Backend.readKv` is asked for.
 * @throws RangeError unless [from, to) are tokens of a row of `heldTokens`, at least one
 */
export function checkKvRead(from: number, to: number, heldTokens: number): void {
  const isRange = Number.isInteger(from) && Number.isInteger(to) && from >= 0 && from < to;
  if (!isRange || to > heldTokens) {
    throw new RangeError(`cannot read tokens ${from} to ${to} of a row of ${heldTokens}`);
  }
}

/**
 * For backends: checks what `Backend.writeKv` is asked for, before anything is changed.
 * @returns first position from which on the pages hold the local part up to `length` without a gap
 * @throws RangeError naming what is missing
 */
export function checkKvWrite(
  pages: readonly KvPage[],
  length: number,
  keep: number,
  limits: KvLimits,
): number {
  const { config, rowTokens, heldTokens } = limits;
  if (!Number.isInteger(length) || length < 0 || length > rowTokens) {
    throw new RangeError(`a row holds 0 to ${rowTokens} tokens, not ${length}`);
  }
  if (!Number.isInteger(keep) || keep < 0 || keep > Math.min(length, heldTokens)) {
    throw new RangeError(`cannot keep ${keep} of ${heldTokens} tokens in a row of ${length}`);
  }
  let end: number | null = null;
  for (const page of pages) {
    checkPage(page, limits);
    if (end !== null && page.start !== end) {
      throw new RangeError(`a page starts at ${page.start}, but the one before ends at ${end}`);
    }
    end = page.start + page.count;
  }
  const first = pages[0]?.start ?? length;
  if (length > 0 && (first > keep || (end ?? length) < length)) {
    throw new RangeError(
      `tokens ${keep} to ${length} are needed, but the pages hold ${first} to ${end ?? first}`,
    );
  }
  const windowStart = Math.max(0, length - config.text.windowTokens + 1);
  const localFrom = localFromOf(pages, length);
  if (localFrom > windowStart) {
    throw new RangeError(
      `local layers need tokens ${windowStart} to ${length}, but the pages hold them from ${localFrom} on`,
    );
  }
  return localFrom;
}

/** Where the run of local entries that reaches `length` begins; `length` when there is none. */
function localFromOf(pages: readonly KvPage[], length: number): number {
  let from = length;
  for (const { start, count, localStart } of pages.toReversed()) {
    if (start >= length) continue;
    if (localStart >= Math.min(length, start + count)) break;
    from = localStart;
    if (localStart > start) break;
  }
  return from;
}

function checkPage(page: KvPage, { kvTokenBytes }: KvLimits): void {
  const { start, count, localStart } = page;
  const end = start + count;
  const isPlaced = Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 1;
  if (!isPlaced || !Number.isInteger(localStart) || localStart < start || localStart > end) {
    throw new RangeError(`no page of ${count} tokens at ${start}, local from ${localStart} on`);
  }
  const globalBytes = count * kvTokenBytes.global;
  const localBytes = (end - localStart) * kvTokenBytes.local;
  if (page.global.length !== globalBytes || page.local.length !== localBytes) {
    throw new RangeError(
      `a page of ${count} tokens has ${globalBytes} + ${localBytes} bytes here, not ${page.global.length} + ${page.local.length}: it is of another model or backend`,
    );
  }
}
