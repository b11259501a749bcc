import type { Completer } from '../completer.ts';
import type { FleetState } from '../fleet/fleet-state.ts';
import type { FleetStats } from '../fleet/fleet-stats.ts';
import { createReading, type Family, type Labels } from './registry.ts';

const STATES: readonly FleetState['state'][] = ['cold', 'loading', 'ready', 'draining'];

type Reading = readonly { readonly labels?: Labels; readonly value: number }[];

/** What a gateway knows and counts of its fleet; no samples where there is none. */
export function fleetFamilies(completer: Completer): readonly Family[] {
  const counter = (name: string, help: string, read: (stats: FleetStats) => Reading): Family =>
    createReading(name, help, 'counter', () => {
      const stats = completer.fleetStats?.();
      return stats === undefined ? [] : read(stats);
    });
  const gauge = (name: string, help: string, read: (fleet: FleetState) => Reading): Family =>
    createReading(name, help, 'gauge', () => {
      const fleet = completer.fleet?.();
      return fleet === undefined ? [] : read(fleet);
    });
  return [
    gauge('gemlet_fleet_state', 'Whether the fleet is in this state.', ({ state }) =>
      STATES.map((name) => ({ labels: { state: name }, value: state === name ? 1 : 0 })),
    ),
    gauge('gemlet_fleet_replicas', 'Replicas by what they said last.', ({ replicas }) =>
      Object.entries(replicas ?? {}).map(([state, value]) => ({ labels: { state }, value })),
    ),
    counter(
      'gemlet_fleet_failed_attempts_total',
      'Attempts to reach a replica that came to nothing, by why.',
      ({ failedAttempts }) =>
        Object.entries(failedAttempts).map(([failure, value]) => ({ labels: { failure }, value })),
    ),
    counter(
      'gemlet_fleet_moved_sessions_total',
      'Turns that another replica answered than the one before.',
      ({ movedSessions }) => [{ value: movedSessions }],
    ),
    counter(
      'gemlet_fleet_continued_answers_total',
      'Answers that had begun and went on at another replica.',
      ({ continuedAnswers }) => [{ value: continuedAnswers }],
    ),
  ];
}
