import type { AttemptEnd } from '../../src/fleet/affinity.ts';
import { createPool } from '../../src/fleet/pool.ts';
import { hashText } from '../../src/fleet/rendezvous.ts';
import type { Clock } from '../../src/lib/clock.ts';

/** One attempt of a turn that a policy has placed. */
export interface Placed {
  readonly url: string;
  /** The replica took it. @param process another one has another cache */
  taken(process: string): void;
  done(end: AttemptEnd): void;
}

/** A way to choose the replica of a turn. */
export interface Policy {
  readonly name: string;
  /** @throws ServeError with `retryAfterMs` where nobody can take it */
  place(session: string, tokens: number, avoid: ReadonlySet<string>): Placed;
  /** The fleet was made larger or smaller. */
  resize(urls: readonly string[]): void;
  /**
   * A replica crashed or is back. The simple policies are told at once, as by an ideal health check;
   * ours finds it out by requests that fail.
   */
  setUp(url: string, isUp: boolean): void;
}

/** @param slots answers of a replica at once */
export function createOurs(clock: Clock, slots: number): Policy {
  const pool = createPool({ replicas: [], clock, assumedSlots: slots });
  const pins = new Map<string, string | null>();
  return {
    name: 'gemlet',
    place(session, tokens, avoid) {
      const visit = { session, pin: pins.get(session) ?? null, avoid, tokens };
      const direction = pool.apply(visit);
      return {
        url: direction.url,
        taken(process) {
          const headers = new Headers({ 'x-gemlet-replica': process });
          pins.set(session, pool.learn({ status: 200, headers }, visit, direction));
        },
        done: (end) => direction.done(end),
      };
    },
    resize(urls) {
      const before = new Set(pool.targets().map(({ url }) => url));
      for (const url of urls) if (!before.delete(url)) pool.add(url);
      for (const url of before) pool.remove(url);
    },
    setUp: () => undefined,
  };
}

export function createRoundRobin(): Policy {
  let turn = 0;
  return simple('round robin', (up) => up[turn++ % up.length]);
}

/** Knows how many requests each replica has, and nothing of caches. */
export function createLeastLoaded(): Policy {
  let turn = 0;
  return simple('least loaded', (up, _session, running) => {
    let best: string | undefined;
    for (let at = 0; at < up.length; at++) {
      const url = up[(at + turn) % up.length];
      if (url === undefined) continue;
      if (best === undefined || (running.get(url) ?? 0) < (running.get(best) ?? 0)) best = url;
    }
    turn++;
    return best;
  });
}

/** The session's hash modulo the number of replicas. */
export function createModulo(): Policy {
  return simple('hash modulo', (up, session) => up[(hashText(session).low >>> 0) % up.length]);
}

function simple(
  name: string,
  choose: (
    up: readonly string[],
    session: string,
    running: ReadonlyMap<string, number>,
  ) => string | undefined,
): Policy {
  let all: readonly string[] = [];
  const down = new Set<string>();
  let up: readonly string[] = [];
  const running = new Map<string, number>();
  const update = (): void => {
    up = all.filter((url) => !down.has(url));
  };
  return {
    name,
    place(session) {
      const url = choose(up, session, running);
      if (url === undefined) throw new Error('no replica is up');
      running.set(url, (running.get(url) ?? 0) + 1);
      return {
        url,
        taken: () => undefined,
        done: () => running.set(url, (running.get(url) ?? 0) - 1),
      };
    },
    resize(urls) {
      all = urls;
      update();
    },
    setUp(url, isUp) {
      if (isUp) down.delete(url);
      else down.add(url);
      update();
    },
  };
}
