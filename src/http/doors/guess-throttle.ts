import type { Context } from 'hono';
import { ServeError } from '../../errors.ts';
import type { Clock } from '../../lib/clock.ts';
import type { AppEnv } from '../app-env.ts';
import { createBoundedMap } from './bounded-map.ts';
import { clientNetwork } from './client-network.ts';
import { createTokenBucket, type TokenBucket } from './token-bucket.ts';

/**
 * Bounds how many wrong keys one address may try. What is beyond is refused before it is looked at, so a guess
 * that is right goes unseen too; a key that was right from there a while ago is not refused, so that those who
 * share an address with a guesser go on.
 */
export interface GuessThrottle {
  /** @throws ServeError rate_limit_exceeded */
  check(c: Context<AppEnv>, tenant: string): void;
  right(c: Context<AppEnv>, tenant: string): void;
  wrong(c: Context<AppEnv>, tenant: string): void;
}

export interface GuessThrottleOptions {
  readonly clock: Clock;
  /** Different wrong keys a minute; Infinity lets all be tried. */
  readonly perMinute: number;
  /** Reverse proxies in front of this server, see `clientNetwork`. */
  readonly proxies: number;
  readonly onRefused: () => void;
}

/** Addresses, and pairs of address and right key, that are remembered: about 2 MB together. */
const MAX_REMEMBERED = 10_000;

interface Guesses {
  readonly bucket: TokenBucket;
  /** A client that keeps sending one wrong key does not guess. */
  last: string;
}

export function createGuessThrottle(options: GuessThrottleOptions): GuessThrottle {
  const { clock, perMinute, proxies, onRefused } = options;
  if (perMinute === Number.POSITIVE_INFINITY) {
    return { check: pass, right: pass, wrong: pass };
  }
  const guesses = createBoundedMap<Guesses>(MAX_REMEMBERED);
  const known = createBoundedMap<true>(MAX_REMEMBERED);

  return {
    check(c, tenant) {
      const network = clientNetwork(c, proxies);
      // Where nobody says who calls, a bound would be one for all callers together.
      const entry = network === null ? undefined : guesses.get(network);
      if (entry === undefined || entry.last === tenant) return;
      const waitMs = entry.bucket.waitMs(1, clock.now());
      if (waitMs === 0 || known.get(`${network} ${tenant}`) === true) return;
      onRefused();
      throw new ServeError(
        'rate_limit_exceeded',
        `More than ${perMinute} wrong API keys came from your address within a minute. Retry later.`,
        { retryAfterMs: waitMs },
      );
    },
    right(c, tenant) {
      const network = clientNetwork(c, proxies);
      if (network !== null) known.set(`${network} ${tenant}`, true);
    },
    wrong(c, tenant) {
      const network = clientNetwork(c, proxies);
      if (network === null) return;
      const nowMs = clock.now();
      const entry = guesses.get(network);
      if (entry?.last === tenant) return;
      const bucket = entry?.bucket ?? createTokenBucket(perMinute, nowMs);
      bucket.spend(1, nowMs);
      guesses.set(network, { bucket, last: tenant });
    },
  };
}

function pass(): void {
  // Nothing is counted.
}
