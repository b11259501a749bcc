import { parsePageKey } from '../page-names.ts';

export interface StoredKey {
  /** Hash of whose it is. */
  readonly tenant: string;
  /** Name of the page before; null where none is. */
  readonly parent: string | null;
  readonly name: string;
}

/** Parts of the key of a page, or of the ids of an answer, which hang on no page; null for others. */
export function parseStoredKey(key: string): StoredKey | null {
  const [, tenant = '', name = ''] = SAID_KEY.exec(key) ?? [];
  return name === '' ? parsePageKey(key) : { tenant, parent: null, name };
}

const SAID_KEY = /^kv\/[0-9a-f]{16}\/([0-9a-f]{16})[0-9a-f]{16}\/said\/([0-9a-f]{64})$/;
