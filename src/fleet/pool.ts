import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Affinity, Direction, Visit } from './affinity.ts';
import { baseUrl } from './base-url.ts';
import { answeredBy, fixedHeaders, hasMoved, joinPin, splitPin } from './pins.ts';
import { choosePlace } from './pool-placement.ts';
import {
  createPoolReplica,
  loadOf,
  noteAnswering,
  noteName,
  noteStatus,
  occupy,
  type PoolReplica,
  type Usability,
  usabilityOf,
} from './pool-replica.ts';

/** Our own choice among replicas that are reached one by one. */
export interface Pool extends Affinity {
  apply(visit: Visit): Direction;
  /** A replica more. @throws ServeError invalid_url, also where it is in the pool already */
  add(url: string): void;
  /** Gets no new work; what runs there goes on. False where it is not in the pool. */
  remove(url: string): boolean;
  stats(): readonly PoolReplicaStats[];
}

export interface PoolReplicaStats {
  readonly url: string;
  /** The process there; null before it was heard of. */
  readonly replica: string | null;
  readonly usability: Usability;
  /** Requests of this gateway. */
  readonly running: number;
  /** Weight of all requests there, in requests; of other gateways' as the replica said. */
  readonly load: number;
  /** Answers at once; 0 while it is not known. */
  readonly slots: number;
}

export interface PoolOptions {
  /** Base URLs; they may have paths. May be empty at first. */
  readonly replicas: readonly string[];
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly clock: Clock;
  /** Slots of a replica until it has said how many it has; default 4. */
  readonly assumedSlots?: number;
}

/** So many tokens make a request weigh as much as one more; one weighs 3 at most. */
const TOKENS_OF_A_REQUEST = 16_384;
const MOST_WEIGHT = 3;
const BUSY_MS = 1_000;
const LONGEST_MS = 60_000;
const DRAINING_MS = 5_000;

/**
 * Creates the pool. Sessions are placed by rendezvous hashing, kept by pins of the replica's process
 * and URL, and spilled where one is loaded above the bound; those that fail are left alone for a while,
 * longer each time, and then tried with one request.
 * @throws ServeError invalid_url for a URL that is none or comes twice; invalid_request for headers
 */
export function createPool(options: PoolOptions): Pool {
  const { clock, assumedSlots = 4 } = options;
  if (!(assumedSlots >= 1)) throw new RangeError(`assumedSlots is ${assumedSlots}, not 1 or more`);
  const headers = fixedHeaders(options.headers);
  const byUrl = new Map<string, PoolReplica>();
  let replicas: readonly PoolReplica[] = [];
  let turn = 0;
  const now = (): number => clock.now();

  function add(text: string): void {
    const url = baseUrl(text);
    if (byUrl.has(url)) {
      throw new ServeError('invalid_url', `The pool has ${url} already: name each replica once.`, {
        param: 'replicas',
      });
    }
    byUrl.set(url, createPoolReplica(url));
    replicas = [...byUrl.values()];
  }

  /** A pin names its replica, and is never a URL to go to; what is in another process is lost. */
  function homeOf({ session, pin }: Visit): PoolReplica | null {
    const parts = session === null ? null : splitPin(pin);
    const replica = parts === null ? undefined : byUrl.get(parts.rest);
    if (replica === undefined || parts === null) return null;
    const isSame = replica.name === parts.replica;
    return isSame || replica.name === '' || parts.replica === '' ? replica : null;
  }

  for (const url of options.replicas) add(url);

  return {
    apply(visit) {
      const nowMs = now();
      const weight = Math.min(1 + Math.max(0, visit.tokens) / TOKENS_OF_A_REQUEST, MOST_WEIGHT);
      const replica = choosePlace(replicas, {
        session: visit.session,
        home: homeOf(visit),
        weight,
        nowMs,
        assumedSlots,
        isAvoided: ({ url, name }) => visit.avoid.has(url) || visit.avoid.has(name),
        turn: turn++,
      });
      if (replica === null) throw nobody(replicas, nowMs);
      // By its URL: its process may be another one by the time it answers.
      const { url } = replica;
      return { url, headers, replica: url, done: occupy(replica, weight, now) };
    },
    learn(answer, { session }, { url }) {
      const name = answeredBy(answer);
      const replica = byUrl.get(url);
      if (replica === undefined) return null;
      noteName(replica, name);
      noteAnswering(replica, now());
      return session === null ? null : joinPin({ replica: name, rest: url });
    },
    lost: (answer, { session, pin }) =>
      session !== null && hasMoved(splitPin(pin), answer) ? 'moved' : 'no',
    targets: () => replicas.map(({ url }) => ({ url, headers })),
    observe(target, status) {
      const replica = byUrl.get(target);
      if (replica !== undefined) noteStatus(replica, status, now());
    },
    add,
    remove(text) {
      const isThere = byUrl.delete(baseUrl(text));
      replicas = [...byUrl.values()];
      return isThere;
    },
    stats() {
      const nowMs = now();
      return replicas.map((replica) => ({
        url: replica.url,
        replica: replica.name === '' ? null : replica.name,
        usability: usabilityOf(replica, nowMs),
        running: replica.running,
        load: loadOf(replica, nowMs),
        slots: replica.slots,
      }));
    },
  };
}

/** Why nobody takes a request, by who could take one soonest. */
function nobody(replicas: readonly PoolReplica[], nowMs: number): ServeError {
  const by = (...wanted: readonly Usability[]): readonly PoolReplica[] =>
    replicas.filter((replica) => wanted.includes(usabilityOf(replica, nowMs)));
  const loading = by('loading');
  if (by('ready', 'paused').length > 0 || (loading.length === 0 && by('idle').length > 0)) {
    return new ServeError('queue_full', 'All replicas are busy. Retry in a moment.', {
      retryAfterMs: BUSY_MS,
    });
  }
  if (loading.length > 0) {
    const etas = loading.flatMap(({ progress }) => progress?.etaMs ?? []);
    const waitMs = Math.min(Math.max(BUSY_MS, Math.min(...etas)), LONGEST_MS);
    return new ServeError(
      'model_loading',
      'The replicas load their model. Retry in a moment.',
      etas.length === 0 ? {} : { retryAfterMs: waitMs },
    );
  }
  if (by('draining').length > 0) {
    return new ServeError('draining', 'All replicas are shutting down. Retry in a moment.', {
      retryAfterMs: DRAINING_MS,
    });
  }
  const what = replicas.length === 0 ? 'The fleet has no replicas' : 'No replica can be reached';
  const trials = replicas.map(({ pausedUntilMs }) => pausedUntilMs - nowMs);
  return new ServeError('upstream_unavailable', `${what}. Retry in a moment.`, {
    retryAfterMs: Math.min(Math.max(BUSY_MS, Math.min(...trials)), LONGEST_MS),
  });
}
