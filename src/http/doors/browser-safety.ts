import type { MiddlewareHandler } from 'hono';
import { ServeError } from '../../errors.ts';
import { isAddress } from '../../image/public-address.ts';
import { hostOf } from '../../image/safe-url.ts';
import type { AppEnv } from '../app-env.ts';

/** Tells browsers to take answers for what they say they are, and to show them to no other site's page. */
export function safeHeaders(): MiddlewareHandler<AppEnv> {
  return async function safeHeadersMiddleware(c, next) {
    await next();
    c.header('x-content-type-options', 'nosniff');
    // Pages that CORS lets in are not concerned: this is of requests that do not ask.
    c.header('cross-origin-resource-policy', 'same-origin');
  };
}

/**
 * Refuses requests to another name than this machine's own, addresses, or one of `allowed`. Any web page can
 * make its own name lead here (DNS rebinding), and browsers then take this server for the page's; where no key
 * is asked for, the name is all that tells such requests apart.
 * @param allowed names without ports; `*.example.org` for those below it
 */
export function knownHosts(
  allowed: readonly string[],
  openPaths: ReadonlySet<string>,
  onRefused: () => void,
): MiddlewareHandler<AppEnv> {
  const names = new Set(allowed.map((name) => name.toLowerCase().replace(/\.$/, '')));
  return async function knownHostsMiddleware(c, next) {
    if (!openPaths.has(c.req.path) && !isKnown(hostOf(new URL(c.req.url)), names)) {
      onRefused();
      throw new ServeError(
        'forbidden',
        'This server asks for no API key, so it answers only to localhost, to addresses, and to names it was told of (allowedHosts, --allow-host).',
      );
    }
    await next();
  };
}

function isKnown(host: string, names: ReadonlySet<string>): boolean {
  if (host === 'localhost' || host.endsWith('.localhost') || isAddress(host)) return true;
  if (names.has(host)) return true;
  for (let dot = host.indexOf('.'); dot >= 0; dot = host.indexOf('.', dot + 1)) {
    if (names.has(`*${host.slice(dot)}`)) return true;
  }
  return false;
}
