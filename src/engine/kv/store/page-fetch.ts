import { abortable } from '../../../lib/abortable.ts';
import type { ObjectStore } from '../../../weights/object-store.ts';
import type { KvPage } from '../../backend.ts';
import { isRefused, type PageCodec, type PageHead, type PageRefusal } from './page-codec.ts';
import { headOrNull } from './page-finder.ts';
import type { PageName } from './page-names.ts';

/** A page on its way: what is had of it so far. */
export interface FetchingPage {
  readonly name: PageName;
  head: PageHead | null;
  /** With its local part. */
  page: KvPage | null;
  /** Asked for and not got. */
  isLocalLost: boolean;
}

export interface RefusedPage {
  readonly key: string;
  readonly reason: PageRefusal | 'missing' | 'unreadable' | 'late';
}

/** Reads of one fetch, and what became of them. */
export interface PageFetch {
  /** Moved, those of refused pages included. */
  readonly bytes: number;
  /** By key. */
  readonly refused: Map<string, RefusedPage['reason']>;
  /** @throws the signal's reason */
  readHead(each: FetchingPage, signal: AbortSignal): Promise<void>;
  /**
   * Of a page whose head is had.
   * @throws the signal's reason
   */
  readLocal(each: FetchingPage, signal: AbortSignal): Promise<void>;
}

export function createPageFetch(store: ObjectStore, codec: PageCodec): PageFetch {
  const refused = new Map<string, RefusedPage['reason']>();
  let bytes = 0;

  /** A part of an object; null when it is not to be had. */
  async function read(
    key: string,
    offset: number,
    length: number,
    within: AbortSignal,
  ): Promise<Uint8Array | null> {
    // Of its own, since many reads listen at once.
    const signal = AbortSignal.any([within]);
    // A buffer of its own: a store that is slow to stop may still write into it.
    const target = new Uint8Array(length);
    try {
      await abortable(store.read(key, offset, target, signal), signal);
      bytes += length;
      return target;
    } catch {
      signal.throwIfAborted();
    }
    const info = await headOrNull(store, key, signal);
    if (info === null) refused.set(key, 'missing');
    else refused.set(key, info.sizeBytes < offset + length ? 'truncated' : 'unreadable');
    return null;
  }

  return {
    get bytes() {
      return bytes;
    },
    refused,
    async readHead(each, signal) {
      const { key, count } = each.name;
      const start = await read(key, 0, codec.headBytes(count), signal);
      if (start === null) return;
      const head = await codec.decodeHead(start, each.name);
      if (isRefused(head)) refused.set(key, head.refusal);
      else each.head = head;
    },
    async readLocal(each, signal) {
      const { name, head } = each;
      if (head === null || !lacksLocal(each)) return;
      const local = await read(name.key, codec.headBytes(name.count), head.localBytes, signal);
      const page = local === null ? null : await codec.withLocal(head, local);
      if (page !== null && !isRefused(page)) {
        each.page = page;
        return;
      }
      each.isLocalLost = true;
      if (page !== null) refused.set(name.key, page.refusal);
    },
  };
}

export function fetchingPage(name: PageName): FetchingPage {
  return { name, head: null, page: null, isLocalLost: false };
}

/** Whether a local part is there that may still be asked for. */
export function lacksLocal({ head, page, isLocalLost }: FetchingPage): boolean {
  return head !== null && head.localBytes > 0 && page === null && !isLocalLost;
}
