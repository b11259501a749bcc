import type { Completer, CompleterState } from '../completer.ts';
import type { ReplicaStatus } from './affinity.ts';

/** How what a gateway passes requests on to is. */
export interface FleetState {
  /** `cold`: nothing is up, or nobody has looked; `draining`: all that is up goes away. */
  readonly state: 'cold' | 'loading' | 'ready' | 'draining';
  /** By what each said last; null: nobody asked them lately, or there is one server only. */
  readonly replicas: ReplicaCounts | null;
}

type ReplicaCounts = Readonly<
  Record<'ready' | 'idle' | 'loading' | 'draining' | 'unreachable', number>
>;

/**
 * How the server itself is. A gateway takes requests as long as it is open, whatever its fleet does:
 * were it not ready while the fleet is cold, no load balancer would send what wakes the fleet.
 */
export function serverState(completer: Completer): CompleterState {
  const { state } = completer;
  const isEnding = state === 'draining' || state === 'closed';
  return completer.fleet === undefined || isEnding ? state : 'ready';
}

/** @param said by each replica; null: it did not answer */
export function countReplicas(said: Iterable<ReplicaStatus | null>): ReplicaCounts {
  const counts = { ready: 0, idle: 0, loading: 0, draining: 0, unreachable: 0 };
  for (const status of said) {
    if (status === null) counts.unreachable++;
    else counts[status.state === 'closed' ? 'draining' : status.state]++;
  }
  return counts;
}
