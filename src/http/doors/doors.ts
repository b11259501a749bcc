import type { MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import type { Clock } from '../../lib/clock.ts';
import type { Refusal, ServingMetrics } from '../../metrics/serving-metrics.ts';
import type { AppEnv } from '../app-env.ts';
import { keyAuth } from './auth.ts';
import { knownHosts, safeHeaders } from './browser-safety.ts';
import { createGuessThrottle } from './guess-throttle.ts';
import type { KeyList } from './key-check.ts';
import { type RateLimits, rateLimits } from './rate-limits.ts';

/** Who is let in, and how often. */
export interface DoorOptions {
  /**
   * Accepted API keys, or `sha256:` and the hex SHA-256 of one; a function is asked at each request. Left out,
   * everyone is let in.
   */
  readonly apiKeys?: KeyList;
  /**
   * Keys that read `/metrics`, and nothing else. Left out, nobody does where there are `apiKeys`, and everyone
   * where there are none.
   */
  readonly metricsKeys?: KeyList;
  /**
   * Names that requests without a key may be sent to, beside localhost and addresses, such as `gemlet.lan` or
   * `*.example.org`; `'*'` for all. Of no account where there are `apiKeys`.
   */
  readonly allowedHosts?: '*' | readonly string[];
  /** Web origins that may call from browsers, `'*'` for all; left out, none. */
  readonly cors?: { readonly origins: '*' | readonly string[] };
  /** What one API key may do in a minute; any by default. */
  readonly rates?: Partial<RateLimits>;
  /** Different wrong keys that one address may try in a minute (30); Infinity for any. */
  readonly wrongKeysPerMinute?: number;
  /** Reverse proxies in front, whose `x-forwarded-for` is believed for addresses (0). */
  readonly proxies?: number;
}

const WRONG_KEYS_PER_MINUTE = 30;
const SHOWN_HEADERS = [
  'x-request-id',
  'x-session-id',
  'x-should-retry',
  'retry-after',
  'retry-after-ms',
  'location',
  'preference-applied',
  ...['limit', 'remaining', 'reset'].flatMap((what) => [
    `x-ratelimit-${what}-requests`,
    `x-ratelimit-${what}-tokens`,
  ]),
];

/**
 * What every request passes before the routes, in order.
 * @param openPaths let everyone in
 * @throws TypeError, RangeError for options that cannot be
 */
export function openDoors(
  options: DoorOptions,
  clock: Clock,
  metrics: ServingMetrics | null,
  openPaths: ReadonlySet<string>,
): readonly MiddlewareHandler<AppEnv>[] {
  const { apiKeys, metricsKeys, allowedHosts = [], rates = {}, proxies = 0 } = options;
  const { wrongKeysPerMinute: perMinute = WRONG_KEYS_PER_MINUTE } = options;
  const { requestsPerMinute = null, tokensPerMinute = null } = rates;
  const count = (why: Refusal) => () => metrics?.refused(why);
  const doors = [safeHeaders()];
  if (apiKeys === undefined && allowedHosts !== '*') {
    doors.push(knownHosts(allowedHosts, openPaths, count('host')));
  }
  // Before the keys: browsers ask without one.
  if (options.cors !== undefined) doors.push(corsFor(options.cors.origins));
  if (apiKeys !== undefined || metricsKeys !== undefined) {
    const onRefused = count('wrong_keys');
    const throttle = createGuessThrottle({ clock, perMinute, proxies, onRefused });
    doors.push(keyAuth({ apiKeys, metricsKeys, openPaths, throttle }));
  }
  if (requestsPerMinute !== null || tokensPerMinute !== null) {
    const limits = { requestsPerMinute, tokensPerMinute };
    const counts = {
      requestsPerMinute: count('rate_requests'),
      tokensPerMinute: count('rate_tokens'),
    };
    doors.push(...rateLimits({ ...limits, clock, openPaths, onRefused: (name) => counts[name]() }));
  }
  return doors;
}

function corsFor(origins: '*' | readonly string[]): MiddlewareHandler<AppEnv> {
  return cors({
    origin: origins === '*' ? '*' : [...origins],
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'],
    exposeHeaders: SHOWN_HEADERS,
    maxAge: 86_400,
  });
}
