import type { AttemptEnd, Direction, ReplicaStatus, Visit } from '../../src/fleet/affinity.ts';
import type { Pool } from '../../src/fleet/pool.ts';

export const URLS = ['http://a.test', 'http://b.test', 'http://c.test', 'http://d.test'] as const;
export const SLOTS = 4;

/** What tests do with a pool, whichever it is just now. */
export interface PoolHarness {
  /** The replica says how it is: ready, with nothing to do, but for what is given. */
  readonly say: (url: string, more?: Partial<ReplicaStatus>) => void;
  /** The pin after an answer of this process. */
  readonly answered: (direction: Direction, of: Visit, boot: string) => string | null;
  /** Where an attempt went that ended so. */
  readonly end: (of: Partial<Visit>, how: AttemptEnd) => string;
  /** Attempts that go on. */
  readonly hold: (count: number, of?: Partial<Visit>) => readonly Direction[];
}

export function visitOf(more: Partial<Visit> = {}): Visit {
  return { session: null, pin: null, avoid: new Set(), tokens: 0, ...more };
}

export function createPoolHarness(pool: () => Pool): PoolHarness {
  return {
    say(url, more = {}) {
      pool().observe?.(url, {
        replica: bootOf(url),
        state: 'ready',
        fingerprint: null,
        running: 0,
        waiting: 0,
        slots: SLOTS,
        progress: null,
        ...more,
      });
    },
    answered(direction, of, boot) {
      const headers = new Headers({ 'x-gemlet-replica': boot });
      return pool().learn({ status: 200, headers }, of, direction);
    },
    end(of, how) {
      const direction = pool().apply(visitOf(of));
      direction.done(how);
      return direction.url;
    },
    hold: (count, of = {}) => Array.from({ length: count }, () => pool().apply(visitOf(of))),
  };
}

/** The process that `say` names. */
export function bootOf(url: string): string {
  return `boot-of-${url}`.replaceAll(/\W/g, '-');
}
