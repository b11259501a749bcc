import { parseArgs } from 'node:util';
import { whole } from './arguments.ts';
import {
  createLeastLoaded,
  createModulo,
  createOurs,
  createRoundRobin,
} from './placement-policies.ts';
import type { ReplicaShape } from './placement-replica.ts';
import { type PlacementResult, simulatePlacement } from './placement-simulation.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { planTraffic } from './placement-traffic.ts';
import { recordResults } from './results.ts';

export const PLACEMENT_USAGE = `Usage: npm run bench -- placement [options]

Simulates a fleet in simulated time: the gateway's real code for placing, replicas that are a few
numbers, conversations with pauses, a fleet that grows and shrinks, replicas that crash. Beside it round
robin, least loaded and hash modulo, which are told of crashes at once. Prints how much of the prompts
was still in a cache, and how many turns ran elsewhere than the one before. No model runs.

  --sessions N   conversations; default 10000
  --replicas N   when the fleet is largest; default 200
  --seconds N    in which the conversations begin; default 600
  --seed TEXT    of the traffic; default placement
`;

/** About a 4B model on a small GPU. */
const SHAPE: ReplicaShape = {
  slots: 8,
  cacheTokens: 98_304,
  prefillTokensPerSecond: 2_000,
  decodeTokensPerSecond: 40,
};

/** @throws RangeError for options that are none */
export async function runPlacement(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sessions: { type: 'string', default: '10000' },
      replicas: { type: 'string', default: '200' },
      seconds: { type: 'string', default: '600' },
      seed: { type: 'string', default: 'placement' },
    },
  });
  const options = {
    seed: values.seed,
    sessions: whole('--sessions', values.sessions),
    replicas: whole('--replicas', values.replicas, 2),
    seconds: whole('--seconds', values.seconds),
  };
  const format = (results: readonly PlacementResult[]): string =>
    `${options.sessions} sessions, ${results[0]?.turns} turns, up to ${options.replicas} replicas of ` +
    `${SHAPE.slots} slots and ${SHAPE.cacheTokens} tokens of cache; simulated\n\n` +
    formatPlacements(results);
  await recordResults<readonly PlacementResult[]>(
    {
      suite: 'placement',
      planned: POLICIES.length,
      format,
      toReport: (results, header) => ({ ...header, results: { options, shape: SHAPE, results } }),
    },
    async (keep) => {
      const results: PlacementResult[] = [];
      for (const result of comparePlacements(options, SHAPE)) {
        results.push(result);
        keep(results);
        // Signals are heard between two policies.
        await new Promise((resolve) => setImmediate(resolve));
      }
      return results;
    },
  );
}

/** Ours first. */
const POLICIES = [
  (clock: Clock, shape: ReplicaShape) => createOurs(clock, shape.slots),
  createModulo,
  createLeastLoaded,
  createRoundRobin,
] as const;

/** The same traffic by each policy, one after the other. */
export function* comparePlacements(
  options: Parameters<typeof planTraffic>[0],
  shape: ReplicaShape,
): Generator<PlacementResult> {
  const traffic = planTraffic(options);
  for (const create of POLICIES) {
    yield simulatePlacement((clock) => create(clock, shape), traffic, shape);
  }
}

export function formatPlacements(results: readonly PlacementResult[]): string {
  const lines = [
    '| policy | prefix cache hits | tokens computed | moved turns (forced) | failed attempts | fullest / mean load, mean (worst) | most requests | first token p50 / p95 / p99 | place |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  for (const result of results) {
    const { p50, p95, p99 } = result.firstTokenMs;
    const cells = [
      result.policy,
      `${(100 * result.hitRate).toFixed(1)}%`,
      `${(result.computedTokens / 1e6).toFixed(1)} M`,
      `${result.moves} (${result.forcedMoves})`,
      String(result.failedAttempts),
      `${result.meanPeak.toFixed(2)} (${result.worstPeak.toFixed(2)})`,
      String(result.mostRequests),
      `${p50.toFixed(0)} / ${p95.toFixed(0)} / ${p99.toFixed(0)} ms`,
      `${result.placeUs.toFixed(1)} µs`,
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return lines.join('\n');
}
