import { type PoolReplica, loadOf, requestsAt, slotsOf, usabilityOf } from './pool-replica.ts';
import { hashText, rendezvousScore } from './rendezvous.ts';

export interface PlacementRequest {
  readonly session: string | null;
  /** Where the session's cache is; null where it is nowhere. */
  readonly home: PoolReplica | null;
  /** In requests. */
  readonly weight: number;
  readonly nowMs: number;
  /** Slots of a replica that has not said how many it has. */
  readonly assumedSlots: number;
  /** Replicas that already failed the request. */
  isAvoided(replica: PoolReplica): boolean;
  /** Where to begin among equals; counts up. */
  readonly turn: number;
}

/** How far above the mean one may be: what sessions that move cost, against what waiting costs. */
const LOAD_BOUND = 1.25;
/** Requests a slot that may run and wait; then the client waits better than the replica. */
const FULL = 4;

/**
 * Chooses a replica, or none if nobody has room: rendezvous hashing with bounded loads.
 *
 * A session stays at home while a slot is free there, or while home is not loaded above the bound: to
 * compute its prompt again costs more than a fuller batch. New sessions are spread by the bound alone.
 * Sessions without a name, and what the bound keeps from everybody, go where the load is least.
 */
export function choosePlace(
  replicas: readonly PoolReplica[],
  request: PlacementRequest,
): PoolReplica | null {
  const first = chooseAmong(replicas, request, 'ready', false);
  if (first !== null) return first;
  // One that loads is up sooner than one that has not begun.
  const isLoading = replicas.some((one) => usabilityOf(one, request.nowMs) === 'loading');
  const idle = isLoading ? null : chooseAmong(replicas, request, 'idle', false);
  // What failed once may work at the second try; nothing else is left.
  return idle ?? chooseAmong(replicas, request, 'ready', true);
}

function chooseAmong(
  replicas: readonly PoolReplica[],
  request: PlacementRequest,
  usability: 'ready' | 'idle',
  withAvoided: boolean,
): PoolReplica | null {
  const { session, home, weight, nowMs, assumedSlots, turn } = request;
  const usable: PoolReplica[] = [];
  let load = weight;
  let slots = 0;
  for (const replica of replicas) {
    if (usabilityOf(replica, nowMs) !== usability) continue;
    if (!withAvoided && request.isAvoided(replica)) continue;
    usable.push(replica);
    load += loadOf(replica, nowMs);
    slots += slotsOf(replica, nowMs, assumedSlots);
  }
  /** Of the weight that is there now, evenly spread by slots, what one may have. */
  const bound = (own: number): number => Math.ceil((LOAD_BOUND * load * own) / slots);
  const after = (replica: PoolReplica): number => loadOf(replica, nowMs) + weight;

  if (home !== null && usable.includes(home)) {
    const own = slotsOf(home, nowMs, assumedSlots);
    if (requestsAt(home, nowMs) + 1 <= own) return home;
    if (after(home) <= Math.min(FULL * own, bound(own))) return home;
  }
  const hash = session === null ? null : hashText(session);
  let best: PoolReplica | null = null;
  let bestScore = -1;
  let least: PoolReplica | null = null;
  let leastLoad = Number.POSITIVE_INFINITY;
  for (let at = 0; at < usable.length; at++) {
    const replica = usable[(at + turn) % usable.length];
    if (replica === undefined) continue;
    const own = slotsOf(replica, nowMs, assumedSlots);
    const then = after(replica);
    // Whatever it weighs, it fits where nothing is.
    const isEmpty = then === weight;
    if (!isEmpty && then > FULL * own) continue;
    if (then / own < leastLoad) {
      least = replica;
      leastLoad = then / own;
    }
    if (hash === null || (!isEmpty && then > bound(own))) continue;
    const score = rendezvousScore(hash, replica.hash);
    if (score > bestScore) {
      best = replica;
      bestScore = score;
    }
  }
  return best ?? least;
}
