import type { StoredPage } from './page-inventory.ts';

/** Least that an object takes of a disk and of a listing, whatever its size. */
const LEAST_CHARGE_BYTES = 4096;

/** What an object counts as. */
export function chargeOf(sizeBytes: number): number {
  return Math.max(LEAST_CHARGE_BYTES, sizeBytes);
}

/**
 * Which pages go so that the rest fits. Tenants that have less than an equal share keep all of theirs, and
 * what they leave is shared by the others; of one tenant the least recently used pages go first, and no page
 * before those that hang on it.
 * @param usedMs when a page was used last
 * @param roomBytes that all together may be charged
 */
export function fairEvictions(
  pages: ReadonlyMap<string, StoredPage>,
  usedMs: (page: StoredPage) => number,
  roomBytes: number,
): readonly StoredPage[] {
  const byTenant = new Map<string, { readonly kept: StoredPage[]; bytes: number }>();
  for (const page of mostWorthyFirst(pages, usedMs)) {
    const own = byTenant.get(page.tenant) ?? { kept: [], bytes: 0 };
    byTenant.set(page.tenant, own);
    own.kept.push(page);
    own.bytes += chargeOf(page.sizeBytes);
  }
  const share = equalShare(
    [...byTenant.values()].map(({ bytes }) => bytes),
    roomBytes,
  );
  const going: StoredPage[] = [];
  for (const own of byTenant.values()) {
    while (own.bytes > share) {
      const page = own.kept.pop();
      if (page === undefined) break;
      own.bytes -= chargeOf(page.sizeBytes);
      going.push(page);
    }
  }
  return going;
}

/** By the last use of a page or of any behind it; every page after the one it hangs on. */
function mostWorthyFirst(
  pages: ReadonlyMap<string, StoredPage>,
  usedMs: (page: StoredPage) => number,
): ReadonlySet<StoredPage> {
  const dated = [...pages.values()].map((page) => ({ page, usedMs: usedMs(page) }));
  const ordered = new Set<StoredPage>();
  for (const { page } of dated.toSorted((a, b) => b.usedMs - a.usedMs)) {
    const chain: StoredPage[] = [];
    let at: StoredPage | undefined = page;
    while (at !== undefined && !ordered.has(at) && chain.length < pages.size) {
      chain.push(at);
      at = at.parent === null ? undefined : pages.get(at.parent);
    }
    for (const each of chain.toReversed()) ordered.add(each);
  }
  return ordered;
}

/** The level to which amounts are cut so that they fit; more than any where they do. */
function equalShare(amounts: readonly number[], room: number): number {
  let left = Math.max(0, room);
  for (const [index, amount] of amounts.toSorted((a, b) => a - b).entries()) {
    const share = left / (amounts.length - index);
    if (amount > share) return share;
    left -= amount;
  }
  return Number.POSITIVE_INFINITY;
}
