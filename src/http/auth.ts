import type { MiddlewareHandler } from 'hono';
import { ServeError } from '../errors.ts';
import type { AppEnv } from './app-env.ts';

/** Probes of orchestrators carry no keys. */
const OPEN_PATHS: ReadonlySet<string> = new Set(['/health/live', '/health/ready']);

/**
 * Demands one of `keys` as `Authorization: Bearer` or `x-api-key`, except on health probes.
 * @throws TypeError for an empty list or an empty key
 */
export function apiKeyAuth(keys: readonly string[]): MiddlewareHandler<AppEnv> {
  if (keys.length === 0) {
    throw new TypeError('apiKeys is empty: leave it out to serve without keys');
  }
  if (keys.some((key) => key.trim() === '')) throw new TypeError('apiKeys holds an empty key');
  let digests: Promise<readonly Uint8Array[]> | undefined;

  return async function apiKeyMiddleware(c, next) {
    if (!OPEN_PATHS.has(c.req.path)) {
      const presented = presentedKey(c.req.raw.headers);
      digests ??= Promise.all(keys.map((key) => sha256(key)));
      if (presented === null || !includes(await digests, await sha256(presented))) {
        throw new ServeError(
          'invalid_api_key',
          presented === null
            ? 'No API key was sent; send it as Authorization: Bearer <key>.'
            : 'The API key is not valid here.',
        );
      }
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

async function sha256(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
}
