import type { MiddlewareHandler } from 'hono';
import { ServeError } from '../../errors.ts';
import type { AppEnv } from '../app-env.ts';
import type { GuessThrottle } from './guess-throttle.ts';
import { createKeyCheck, type KeyList, presentedKey, sha256, tenantName } from './key-check.ts';

export interface AuthOptions {
  /** Of clients; undefined lets everyone in. */
  readonly apiKeys: KeyList | undefined;
  /** Of those who read `/metrics`; undefined: everyone where there are no `apiKeys`, else nobody. */
  readonly metricsKeys: KeyList | undefined;
  /** Paths that ask for no key: probes of orchestrators carry none. */
  readonly openPaths: ReadonlySet<string>;
  readonly throttle: GuessThrottle;
}

export const METRICS_PATH = '/metrics';

/**
 * Demands a key as `Authorization: Bearer` or `x-api-key`, except on `openPaths`. Whoever shows an API key is
 * a tenant of its own, see `tenantName`. Counts of all tenants together tell one of them what others did, so
 * `/metrics` has keys of its own, which open nothing else.
 * @throws TypeError for an empty list or an empty key
 */
export function keyAuth(options: AuthOptions): MiddlewareHandler<AppEnv> {
  const { openPaths, throttle } = options;
  const clients = options.apiKeys && createKeyCheck(options.apiKeys, 'apiKeys');
  const readers = options.metricsKeys && createKeyCheck(options.metricsKeys, 'metricsKeys');

  return async function keyMiddleware(c, next) {
    const { path } = c.req;
    const isMetrics = path === METRICS_PATH;
    const isOpen = isMetrics ? clients === undefined && readers === undefined : !clients;
    if (isOpen || openPaths.has(path)) return next();
    const key = presentedKey(c.req.raw.headers);
    if (key === null) {
      throw refuse('No API key was sent; send it as Authorization: Bearer <key>.');
    }
    const digest = await sha256(key);
    const tenant = tenantName(digest);
    throttle.check(c, tenant);
    const found = await (isMetrics ? readers : clients)?.find(digest);
    if (found === 'right') {
      throttle.right(c, tenant);
      if (!isMetrics) c.set('tenant', tenant);
      return next();
    }
    if (isMetrics && (await clients?.find(digest)) === 'right') {
      throttle.right(c, tenant);
      throw new ServeError(
        'forbidden',
        'Keys of clients do not read /metrics, which tells of all of them; it has keys of its own (metricsKeys, --metrics-key).',
      );
    }
    throttle.wrong(c, tenant);
    throw refuse(
      found === 'none'
        ? 'This server has no API keys, so it answers its gateways only.'
        : 'The API key is not valid here.',
    );
  };
}

function refuse(message: string): ServeError {
  return new ServeError('invalid_api_key', message);
}
