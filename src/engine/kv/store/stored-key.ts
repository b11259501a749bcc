import { parsePageKey } from './page-names.ts';

/** Parts of the key of a page, or of the ids of an answer, which hang on no page; null for others. */
export function parseStoredKey(
  key: string,
): { readonly parent: string | null; readonly name: string } | null {
  const said = SAID_KEY.exec(key)?.[1];
  return said === undefined ? parsePageKey(key) : { parent: null, name: said };
}

const SAID_KEY = /^kv\/[0-9a-f]{16}\/[0-9a-f]{32}\/said\/([0-9a-f]{64})$/;
