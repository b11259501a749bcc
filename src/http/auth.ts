import type { MiddlewareHandler } from 'hono';
import { ServeError } from '../errors.ts';
import type { AppEnv } from './app-env.ts';

/** Bytes of a key's digest that name its tenant. */
const TENANT_BYTES = 16;

/**
 * Demands one of `keys` as `Authorization: Bearer` or `x-api-key`, except on `openPaths`: probes of
 * orchestrators carry none. Whoever shows a key is a tenant of its own, named `tenant` on the context
 * by hex digits of the key's SHA-256: never by the key.
 * @throws TypeError for an empty list or an empty key
 */
export function apiKeyAuth(
  keys: readonly string[],
  openPaths: ReadonlySet<string>,
): MiddlewareHandler<AppEnv> {
  if (keys.length === 0) {
    throw new TypeError('apiKeys is empty: leave it out to serve without keys');
  }
  if (keys.some((key) => key.trim() === '')) throw new TypeError('apiKeys holds an empty key');
  let digests: Promise<readonly Uint8Array[]> | undefined;

  return async function apiKeyMiddleware(c, next) {
    if (!openPaths.has(c.req.path)) {
      const presented = presentedKey(c.req.raw.headers);
      digests ??= Promise.all(keys.map((key) => sha256(key)));
      const digest = presented === null ? null : await sha256(presented);
      if (digest === null || !includes(await digests, digest)) {
        throw new ServeError(
          'invalid_api_key',
          presented === null
            ? 'No API key was sent; send it as Authorization: Bearer <key>.'
            : 'The API key is not valid here.',
        );
      }
      c.set('tenant', tenantOf(digest));
    }
    await next();
  };
}

function presentedKey(headers: Headers): string | null {
  const bearer = /^Bearer +(\S+) *$/i.exec(headers.get('authorization') ?? '')?.[1];
  return bearer ?? headers.get('x-api-key');
}

/** Digests have one length and no structure, so comparing them leaks nothing about the keys. */
function includes(digests: readonly Uint8Array[], presented: Uint8Array): boolean {
  let found = false;
  for (const digest of digests) {
    let difference = 0;
    for (const [index, byte] of digest.entries()) difference |= byte ^ (presented[index] ?? 0);
    // No early exit: the time taken does not tell which key it was.
    found = difference === 0 || found;
  }
  return found;
}

function tenantOf(digest: Uint8Array): string {
  let hex = '';
  for (const byte of digest.subarray(0, TENANT_BYTES)) hex += byte.toString(16).padStart(2, '0');
  return hex;
}

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}
