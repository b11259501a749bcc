import { runInChild } from '../bench/children.ts';
import type { LoadServer } from '../bench/load-server.ts';
import { quantile } from '../bench/stats.ts';
import type { Attack, Outcomes, Target } from './attack.ts';
import { startAttacker } from './run-attacker.ts';
import { ATTACKER_KEY, OTHER_KEY, startTarget } from './target.ts';
import type { Watched, WatchRequest } from './watch.ts';

export interface RunOptions {
  readonly attack: Attack;
  readonly target: Target;
  /** How long it attacks. */
  readonly seconds: number;
}

/** How it was for another user. */
export interface Experience {
  readonly answers: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly failures: number;
  readonly firstFailure: string | null;
  readonly longestLiveMs: number;
  readonly longestStallMs: number;
  readonly liveFailures: number;
}

export interface AttackResult {
  readonly attack: string;
  readonly finding: string;
  readonly target: Target;
  readonly calm: Experience;
  readonly attacked: Experience;
  readonly after: Experience;
  /** Resident memory of the process that uses most, in MB; null when one had ended. */
  readonly rssMb: {
    readonly before: number | null;
    readonly peak: number;
    readonly after: number | null;
  };
  /** What became of the attacker's tries. */
  readonly outcomes: Outcomes;
  /** Whether all processes live. */
  readonly survived: boolean;
}

const CALM_SECONDS = 2;
const SAMPLE_MS = 50;
/** The first answers of a fresh process are slower. */
const WARM_UP_SECONDS = 0.5;

/** Starts a server, attacks it from one user's key, and tells how it was for another. */
export async function runAttack({ attack, target, seconds }: RunOptions): Promise<AttackResult> {
  const running = await startTarget(target);
  const { servers } = running;
  const [front] = servers;
  let peak = 0;
  const sample = (): void => {
    peak = Math.max(peak, ...servers.map((each) => each.rssMb() ?? 0));
  };
  const timer = setInterval(sample, SAMPLE_MS);
  try {
    await watchFor(front, WARM_UP_SECONDS);
    const calm = await watchFor(front, CALM_SECONDS);
    const before = rssOf(servers);
    const attacker = await startAttacker(attack.name, front.url, ATTACKER_KEY);
    let attacked: Experience;
    let outcomes: Outcomes;
    try {
      attacked = await watchFor(front, seconds);
      outcomes = await attacker.outcomes();
    } finally {
      attacker.kill();
    }
    const after = await watchFor(front, CALM_SECONDS);
    sample();
    return {
      attack: attack.name,
      finding: attack.finding,
      target,
      calm,
      attacked,
      after,
      rssMb: { before, peak: Math.round(peak), after: rssOf(servers) },
      outcomes,
      survived: servers.every((each) => each.rssMb() !== null),
    };
  } finally {
    clearInterval(timer);
    await running.close();
  }
}

async function watchFor({ url, pid }: LoadServer, seconds: number): Promise<Experience> {
  const request: WatchRequest = { url, apiKey: OTHER_KEY, pid: pid ?? 0, seconds };
  const { answersMs, longestLiveMs, longestStallMs, ...rest } = await runInChild<Watched>(
    'the watch',
    '../attacks/watch-main.js',
    [],
    request,
  );
  const at = (fraction: number): number | null =>
    answersMs.length === 0 ? null : Math.round(quantile(answersMs, fraction));
  return {
    answers: answersMs.length,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    ...rest,
    longestLiveMs: Math.round(longestLiveMs),
    longestStallMs: Math.round(longestStallMs),
  };
}

function rssOf(servers: readonly LoadServer[]): number | null {
  const all = servers.map((each) => each.rssMb());
  return all.includes(null) ? null : Math.round(Math.max(...all.map((each) => each ?? 0)));
}
