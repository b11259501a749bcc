import {
  createKeyCheck,
  presentedKey,
  sha256,
  tenantName,
} from '../../src/http/doors/key-check.ts';

/**
 * Whom a rate limit counts a request for: the API key it shows where that is right, else its address, so that
 * those who make up keys share one limit.
 */
export async function callerName(
  headers: Headers,
  apiKeys: readonly string[] | null,
): Promise<string> {
  const key = presentedKey(headers);
  if (apiKeys !== null && key !== null) {
    const digest = await sha256(key);
    // Made anew each time: promises must not be shared between requests here.
    const found = await createKeyCheck(apiKeys, 'API_KEYS').find(digest);
    if (found === 'right') return `key ${tenantName(digest)}`;
  }
  return `address ${headers.get('cf-connecting-ip') ?? ''}`;
}
