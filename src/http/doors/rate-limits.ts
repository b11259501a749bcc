import type { Context, MiddlewareHandler } from 'hono';
import type { CompletionEvent } from '../../completer.ts';
import { ServeError } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import { type AppEnv, tenantOf } from '../app-env.ts';
import type { CompletionMeter } from '../../metrics/serving-metrics.ts';
import { createBoundedMap } from './bounded-map.ts';
import { createTokenBucket, type TokenBucket } from './token-bucket.ts';

/** What one API key may do in a minute; without keys, all callers together. */
export interface RateLimits {
  /** Requests that ask for work or change something; null is any. */
  readonly requestsPerMinute: number | null;
  /** Prompt and completion tokens; null is any. */
  readonly tokensPerMinute: number | null;
}

export interface RateLimitOptions extends RateLimits {
  readonly clock: Clock;
  readonly openPaths: ReadonlySet<string>;
  readonly onRefused: (what: keyof RateLimits) => void;
}

/** Keys that are remembered; those in use are fewer as a rule. */
const MAX_TENANTS = 10_000;
/** Reading costs nothing. */
const FREE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
const WHAT = { requestsPerMinute: 'requests', tokensPerMinute: 'tokens' } as const;

interface Limit {
  readonly name: keyof RateLimits;
  readonly perMinute: number;
  readonly buckets: { of(tenant: string): TokenBucket };
}

/**
 * Refuses a key's requests beyond a minute's worth, and says in OpenAI's `x-ratelimit-*` headers what is left.
 * Tokens are counted as they pass, for nobody knows before how many there will be: what an answer took beyond
 * the limit is made good by a longer wait.
 * @throws RangeError for limits below 1
 */
export function rateLimits(options: RateLimitOptions): readonly MiddlewareHandler<AppEnv>[] {
  const { clock, openPaths, onRefused } = options;
  const requests = limitOf('requestsPerMinute', options);
  const tokens = limitOf('tokensPerMinute', options);
  const limits = [requests, tokens].filter((limit) => limit !== null);

  const isFree = ({ req }: Context<AppEnv>): boolean =>
    FREE_METHODS.has(req.method) || openPaths.has(req.path);
  /** Around the other, since what that one throws becomes a response between the two. */
  const show: MiddlewareHandler<AppEnv> = async function rateHeaders(c, next) {
    await next();
    if (!isFree(c)) setHeaders(c, limits, clock.now());
  };
  const refuse: MiddlewareHandler<AppEnv> = async function rateLimit(c, next) {
    if (isFree(c)) return next();
    const tenant = tenantOf(c);
    const nowMs = clock.now();
    for (const { name, perMinute, buckets } of limits) {
      const waitMs = buckets.of(tenant).waitMs(1, nowMs);
      if (waitMs === 0) continue;
      onRefused(name);
      throw new ServeError(
        'rate_limit_exceeded',
        `The limit of ${perMinute} ${WHAT[name]} a minute is reached. Retry in ${Math.ceil(waitMs / 1000)} s.`,
        { retryAfterMs: waitMs },
      );
    }
    requests?.buckets.of(tenant).spend(1, nowMs);
    if (tokens !== null) {
      const bucket = tokens.buckets.of(tenant);
      countTokens(c, (count) => bucket.spend(count, clock.now()));
    }
    return next();
  };
  return [show, refuse];

  function limitOf(name: keyof RateLimits, { [name]: perMinute }: RateLimits): Limit | null {
    if (perMinute === null) return null;
    if (!(perMinute >= 1)) throw new RangeError(`${name} must be 1 or more, not ${perMinute}`);
    const known = createBoundedMap<TokenBucket>(MAX_TENANTS);
    const of = (tenant: string): TokenBucket => {
      const bucket = known.get(tenant) ?? createTokenBucket(perMinute, clock.now());
      known.set(tenant, bucket);
      return bucket;
    };
    return { name, perMinute, buckets: { of } };
  }
}

/** Tells `spend` of tokens as they pass through the request's trace. */
function countTokens(c: Context<AppEnv>, spend: (count: number) => void): void {
  const trace = c.get('trace');
  c.set('trace', {
    ...trace,
    meter(request): CompletionMeter {
      const meter = trace.meter(request);
      const counted = Array.from({ length: request.choiceCount }, () => 0);
      const count = (event: CompletionEvent): number => {
        if (event.type === 'start') return event.promptTokens;
        const before = counted[event.index] ?? 0;
        if (event.type === 'delta') {
          counted[event.index] = before + event.tokens.length;
          return event.tokens.length;
        }
        // The rest: some completers report no single tokens.
        return Math.max(0, event.completionTokens - before) + (event.late?.promptTokens ?? 0);
      };
      return {
        ...meter,
        add(event, nowMs) {
          spend(count(event));
          meter.add(event, nowMs);
        },
      };
    },
  });
}

function setHeaders(c: Context<AppEnv>, limits: readonly Limit[], nowMs: number): void {
  for (const { name, perMinute, buckets } of limits) {
    const bucket = buckets.of(tenantOf(c));
    const left = Math.max(0, Math.floor(bucket.level(nowMs)));
    c.header(`x-ratelimit-limit-${WHAT[name]}`, String(perMinute));
    c.header(`x-ratelimit-remaining-${WHAT[name]}`, String(left));
    c.header(`x-ratelimit-reset-${WHAT[name]}`, duration(bucket.waitMs(perMinute, nowMs)));
  }
}

/** As OpenAI writes it: 17ms, 1.5s, 6m0s. */
export function duration(ms: number): string {
  const whole = Math.ceil(ms);
  if (whole < 1_000) return `${whole}ms`;
  const minutes = Math.floor(whole / 60_000);
  const seconds = Math.ceil((whole % 60_000) / 10) / 100;
  return minutes === 0 ? `${seconds}s` : `${minutes}m${seconds}s`;
}
