import { sha256Hex, type Sha256 } from '../../../lib/sha256-hex.ts';
import type { KvContent } from '../kv-store.ts';
import { bytesOfHex } from './hex.ts';

/** Of names and of what lies under them; a change makes all older pages unreachable. */
export const PAGE_FORMAT_VERSION = 2;
/** Every key of a page begins with it. */
export const PAGE_PREFIX = 'kv/';

const HASH_BYTES = 32;
/** Digits of a hash that suffice for a folder: its pages' names hold all of it again. */
const MODEL_DIGITS = 16;
const TENANT_DIGITS = 16;
const SCOPE_DIGITS = 16;

/** Where a page lies, and the proof of what it holds. */
export interface PageName {
  readonly key: string;
  /** Hash of the page's content and of all content before it, as 64 hex digits. */
  readonly name: string;
  /** Name of the page before; of the root at position 0. */
  readonly parent: string;
  readonly start: number;
  readonly count: number;
}

/** Names of one content's pages. */
export interface PageChain {
  /** Full pages, from position 0 on. */
  readonly full: readonly PageName[];
  /** The page of `count` tokens behind the first `pages` full ones: a partial last page. */
  next(pages: number, count: number): Promise<PageName>;
  /** What keys of the pages behind the first `pages` full ones begin with. */
  prefix(pages: number): string;
}

export interface PageNamerOptions {
  /** Of all that decides over a page's bytes: model, kind of backend, precision, layout. */
  readonly fingerprint: string;
  readonly sha256?: Sha256;
}

/**
 * Names pages by content: equal names mean equal words and images, from the content's first position
 * on, in the same scope of the same model. A name tells nothing about what it was made of to who
 * cannot guess all of it.
 */
export interface PageNamer {
  /** @param length words of the content that are looked at */
  chain(content: KvContent, pageTokens: number, length: number): Promise<PageChain>;
  /** What keys of a scope begin with. */
  folderOf(scope: string): Promise<string>;
}

export function createPageNamer(options: PageNamerOptions): PageNamer {
  const { fingerprint } = options;
  const sha256 = options.sha256 ?? sha256Hex;
  // JSON separates the parts, and keeps lone surrogates apart, which UTF-8 does not.
  const hashOf = async (value: unknown): Promise<string> =>
    sha256(new TextEncoder().encode(JSON.stringify(value)));
  let model: Promise<string> | null = null;

  async function folderOf(scope: string): Promise<string> {
    model ??= hashOf(fingerprint);
    const modelDigits = (await model).slice(0, MODEL_DIGITS);
    const tenantDigits = (await hashOf(['tenant', tenantOf(scope)])).slice(0, TENANT_DIGITS);
    const scopeDigits = (await hashOf(scope)).slice(0, SCOPE_DIGITS);
    return `${PAGE_PREFIX}${modelDigits}/${tenantDigits}${scopeDigits}/`;
  }

  return {
    folderOf,
    async chain(content, pageTokens, length) {
      if (!Number.isInteger(pageTokens) || pageTokens < 1) {
        throw new RangeError(`pageTokens must be a whole number from 1 on, not ${pageTokens}`);
      }
      const folder = await folderOf(content.scope);
      const root = await hashOf(['gemlet-kv', PAGE_FORMAT_VERSION, fingerprint, content.scope]);
      const name = async (parent: string, start: number, count: number): Promise<PageName> => {
        const hash = await sha256(preimage(content, parent, start, count));
        return { key: `${folder}${parent}/${count}-${hash}`, name: hash, parent, start, count };
      };
      const end = Math.min(length, content.words.length);
      const full: PageName[] = [];
      for (let start = 0; start + pageTokens <= end; start += pageTokens) {
        full.push(await name(full.at(-1)?.name ?? root, start, pageTokens));
      }
      const parentOf = (pages: number): string => {
        if (pages === 0) return root;
        const last = full[pages - 1];
        if (last === undefined) throw new RangeError(`no ${pages} pages among ${full.length}`);
        return last.name;
      };
      return {
        full,
        next(pages, count) {
          const start = pages * pageTokens;
          if (count < 1 || start + count > content.words.length) {
            throw new RangeError(`no page of ${count} tokens behind ${pages} pages`);
          }
          return name(parentOf(pages), start, count);
        },
        prefix: (pages) => `${folder}${parentOf(pages)}/`,
      };
    },
  };
}

export interface PageKey {
  /** Hash of whose page it is, the same in all of a tenant's scopes. */
  readonly tenant: string;
  readonly parent: string;
  readonly name: string;
  readonly count: number;
}

/** Parts of a page's key; null when it is none. */
export function parsePageKey(key: string): PageKey | null {
  const match = PAGE_KEY.exec(key);
  if (match === null) return null;
  const [, tenant = '', parent = '', count = '', name = ''] = match;
  return { tenant, parent, name, count: Number(count) };
}

const PAGE_KEY =
  /^kv\/[0-9a-f]{16}\/([0-9a-f]{16})[0-9a-f]{16}\/([0-9a-f]{64})\/([1-9][0-9]{0,8})-([0-9a-f]{64})$/;

/** Whoever was let in: what stands before the salt that a request may add, see `cache_salt`. */
function tenantOf(scope: string): string {
  const end = scope.indexOf('\0');
  return end < 0 ? scope : scope.slice(0, end);
}

/** [parent 32 | start u32 | count u32 | words i32 * count | (position u32 | sha256 32) * images], little endian. */
function preimage(
  { words, images }: KvContent,
  parent: string,
  start: number,
  count: number,
): Uint8Array {
  const end = start + count;
  const begun = images.filter(({ position }) => position >= start && position < end);
  const bytes = new Uint8Array(HASH_BYTES + 8 + count * 4 + begun.length * (4 + HASH_BYTES));
  const view = new DataView(bytes.buffer);
  bytes.set(bytesOfHex(parent));
  view.setUint32(HASH_BYTES, start, true);
  view.setUint32(HASH_BYTES + 4, count, true);
  let at = HASH_BYTES + 8;
  for (let position = start; position < end; position++) {
    view.setInt32(at, words[position] ?? 0, true);
    at += 4;
  }
  for (const { position, sha256 } of begun) {
    const hash = bytesOfHex(sha256);
    if (hash.length !== HASH_BYTES) throw new RangeError('an image needs its whole SHA-256');
    view.setUint32(at, position, true);
    bytes.set(hash, at + 4);
    at += 4 + HASH_BYTES;
  }
  return bytes;
}
