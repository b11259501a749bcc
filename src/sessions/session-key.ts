import { ServeError } from '../errors.ts';

/**
 * What names a session: shown in headers and paths, so nothing that hides or needs an encoding, and no dots
 * alone, which clients resolve away in paths.
 */
export const SESSION_KEY: RegExp = /^(?!\.{1,2}$)[\u0021-\u007e]{1,256}$/;
export const SESSION_KEY_RULE =
  'must be 1 to 256 visible ASCII characters, without spaces, and neither . nor ..';

/** Headers that name a session; the first one sent wins, and over the body's `prompt_cache_key`. */
const HEADERS = ['x-session-affinity', 'x-session-id'] as const;

/**
 * The session that a request's headers name; null where none does.
 * @throws ServeError invalid_request, with the header as `param`
 */
export function headerSessionKey(headers: Headers): string | null {
  for (const name of HEADERS) {
    const key = headers.get(name);
    if (key === null) continue;
    if (SESSION_KEY.test(key)) return key;
    throw new ServeError('invalid_request', `The header ${name} ${SESSION_KEY_RULE}.`, {
      param: name,
    });
  }
  return null;
}

/**
 * The session a request belongs to: its headers' before its body's; null where neither names one. A
 * `prompt_cache_key` may be any text elsewhere: one that cannot name a session names none.
 */
export function sessionKeyOf(
  headerKey: string | null,
  promptCacheKey: string | undefined,
): string | null {
  if (headerKey !== null) return headerKey;
  return promptCacheKey !== undefined && SESSION_KEY.test(promptCacheKey) ? promptCacheKey : null;
}
