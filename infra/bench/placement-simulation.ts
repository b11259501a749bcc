import { ServeError } from '../../src/errors.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { createEventLine } from './event-line.ts';
import type { Placed, Policy } from './placement-policies.ts';
import {
  createSimulatedReplica,
  type ReplicaShape,
  type SimulatedReplica,
} from './placement-replica.ts';
import type { SessionPlan, Traffic } from './placement-traffic.ts';
import { quantile } from './stats.ts';

export interface PlacementResult {
  readonly policy: string;
  readonly turns: number;
  /** Tokens of earlier turns that were in the cache where the turn ran, of all of them. */
  readonly hitRate: number;
  /** Tokens of prompts that were computed. */
  readonly computedTokens: number;
  /** Later turns that ran in another process than the turn before. */
  readonly moves: number;
  /** Of these, the ones whose process was gone: nobody can avoid them. */
  readonly forcedMoves: number;
  /** Attempts that failed, and were made again elsewhere. */
  readonly failedAttempts: number;
  /** The fullest replica's load over the mean: the mean and the most of all samples. */
  readonly meanPeak: number;
  readonly worstPeak: number;
  /** Requests at one replica at once, running and waiting. */
  readonly mostRequests: number;
  /** Until the first token: waiting and prefill. */
  readonly firstTokenMs: { readonly p50: number; readonly p95: number; readonly p99: number };
  /** Real time of placing one turn, in microseconds. */
  readonly placeUs: number;
}

const DOWN_MS = 60_000;
const SAMPLE_MS = 2_000;
const AGAIN_MS = 50;

/** Runs all of the traffic against one policy. Nothing but `placeUs` depends on the machine. */
export function simulatePlacement(
  makePolicy: (clock: Clock) => Policy,
  traffic: Traffic,
  shape: ReplicaShape,
): PlacementResult {
  const line = createEventLine();
  const policy = makePolicy({ now: () => line.now(), sleep: () => new Promise(() => undefined) });
  const replicas: SimulatedReplica[] = [];
  const byUrl = new Map<string, SimulatedReplica>();
  let listed: readonly SimulatedReplica[] = [];
  let [turns, moves, forcedMoves, failedAttempts, placeMs, placings] = [0, 0, 0, 0, 0, 0];
  let [historyTokens, hitTokens, computedTokens] = [0, 0, 0];
  const firstTokenMs: number[] = [];
  const peaks: number[] = [];
  let mostRequests = 0;
  let left = traffic.sessions.length;

  function resize(count: number): void {
    while (replicas.length < count) {
      const replica = createSimulatedReplica(`http://10.0.0.${replicas.length}:8787`, shape, line);
      replicas.push(replica);
      byUrl.set(replica.url, replica);
    }
    listed = replicas.slice(0, count);
    policy.resize(listed.map(({ url }) => url));
  }

  function crash(replica: SimulatedReplica | undefined): void {
    if (replica === undefined || !replica.isUp()) return;
    policy.setUp(replica.url, false);
    replica.crash();
    line.at(line.now() + DOWN_MS, () => {
      replica.restart();
      policy.setUp(replica.url, true);
    });
  }

  function sample(): void {
    const loads = listed.filter((replica) => replica.isUp()).map((replica) => replica.load());
    const mean = loads.reduce((sum, load) => sum + load, 0) / loads.length;
    // Of a fleet with next to nothing to do, no ratio means anything.
    if (mean >= 1) peaks.push(Math.max(...loads) / mean);
    if (left > 0) line.at(line.now() + SAMPLE_MS, sample);
  }

  function runTurn(plan: SessionPlan, at: number, history: number, last: string | null): void {
    const turn = plan.turns[at];
    if (turn === undefined) {
      left--;
      return;
    }
    turns++;
    const promptTokens = history + turn.askedTokens;
    const avoid = new Set<string>();

    const attempt = (): void => {
      const startedAt = performance.now();
      let placed: Placed;
      try {
        placed = policy.place(plan.name, promptTokens + turn.answerTokens, avoid);
      } catch (error) {
        if (!ServeError.is(error)) throw error;
        line.at(line.now() + (error.retryAfterMs ?? AGAIN_MS), attempt);
        return;
      } finally {
        placeMs += performance.now() - startedAt;
        placings++;
      }
      const { url } = placed;
      const replica = byUrl.get(url);
      function failed(): void {
        failedAttempts++;
        placed.done('failed');
        avoid.add(url);
        line.at(line.now() + AGAIN_MS, attempt);
      }
      if (replica === undefined || !replica.isUp()) {
        failed();
        return;
      }
      const process = replica.process();
      placed.taken(process);
      mostRequests = Math.max(mostRequests, replica.load() + 1);
      replica.take({
        session: plan.name,
        historyTokens: history,
        promptTokens,
        answerTokens: turn.answerTokens,
        onStart(hit, waitMs, prefillMs) {
          historyTokens += history;
          hitTokens += hit;
          computedTokens += promptTokens - hit;
          firstTokenMs.push(waitMs + prefillMs);
        },
        onEnd(isWhole) {
          if (!isWhole) {
            failed();
            return;
          }
          placed.done('ok');
          if (last !== null && process !== last) {
            moves++;
            if (!listed.some((one) => one.process() === last)) forcedMoves++;
          }
          const next = promptTokens + turn.answerTokens;
          line.at(line.now() + turn.thinkMs, () => runTurn(plan, at + 1, next, process));
        },
      });
    };
    attempt();
  }

  for (const { atMs, replicas: count } of traffic.resizes) line.at(atMs, () => resize(count));
  for (const { atMs, replica } of traffic.crashes) line.at(atMs, () => crash(replicas[replica]));
  for (const plan of traffic.sessions) line.at(plan.beginsMs, () => runTurn(plan, 0, 0, null));
  line.at(SAMPLE_MS, sample);
  line.run();

  return {
    policy: policy.name,
    turns,
    hitRate: hitTokens / historyTokens,
    computedTokens,
    moves,
    forcedMoves,
    failedAttempts,
    meanPeak: peaks.reduce((sum, peak) => sum + peak, 0) / peaks.length,
    worstPeak: Math.max(...peaks),
    mostRequests,
    firstTokenMs: {
      p50: quantile(firstTokenMs, 0.5),
      p95: quantile(firstTokenMs, 0.95),
      p99: quantile(firstTokenMs, 0.99),
    },
    placeUs: (placeMs / placings) * 1000,
  };
}
