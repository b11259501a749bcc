import type { ObjectStore } from '../../../weights/object-store.ts';
import type { KvContent } from '../kv-store.ts';
import { parsePageKey, type PageNamer } from './page-names.ts';

/**
 * Removes the pages that hold a content and none of `kept`: its full pages from the end on, and the
 * partial ones behind them, of earlier turns too.
 * @returns keys removed
 * @throws ServeError of the store; the signal's reason
 */
export async function forgetPages(
  store: ObjectStore,
  namer: PageNamer,
  pageTokens: number,
  content: KvContent,
  kept: readonly KvContent[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { length } = content.words;
  const chain = await namer.chain(content, pageTokens, length);
  const staying = new Set<string>();
  for (const other of kept) {
    const otherChain = await namer.chain(other, pageTokens, other.words.length);
    const { full } = otherChain;
    for (const { key } of full) staying.add(key);
    const tail = other.words.length - full.length * pageTokens;
    if (tail > 0) staying.add((await otherChain.next(full.length, tail)).key);
  }
  const removed: string[] = [];
  const drop = async (key: string): Promise<void> => {
    if (staying.has(key)) return;
    await store.remove(key, signal);
    removed.push(key);
  };
  for (let pages = chain.full.length; pages >= 0; pages--) {
    for await (const { key } of store.listPrefix(chain.prefix(pages), signal)) {
      const parsed = parsePageKey(key);
      if (parsed === null || pages * pageTokens + parsed.count > length) continue;
      // The same parent has pages of other conversations too.
      const own = await chain.next(pages, parsed.count);
      if (own.key === key) await drop(key);
    }
  }
  return removed;
}
