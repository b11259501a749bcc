import { createRandom } from './random.ts';

export interface TrafficOptions {
  readonly seed: string;
  readonly sessions: number;
  /** Replicas when the fleet is largest. */
  readonly replicas: number;
  /** Seconds in which sessions begin. */
  readonly seconds: number;
}

/** All that comes from outside, the same for every policy. */
export interface Traffic {
  readonly sessions: readonly SessionPlan[];
  /** In order of time. */
  readonly resizes: readonly { readonly atMs: number; readonly replicas: number }[];
  readonly crashes: readonly { readonly atMs: number; readonly replica: number }[];
}

export interface SessionPlan {
  readonly name: string;
  readonly beginsMs: number;
  readonly turns: readonly TurnPlan[];
}

export interface TurnPlan {
  /** Tokens that the client adds to the conversation. */
  readonly askedTokens: number;
  readonly answerTokens: number;
  /** Between the answer and the next turn. */
  readonly thinkMs: number;
}

/** Mean time from a turn's end to the next one. */
const THINK_MS = 30_000;
const MEAN_TURNS = 8;
const MOST_TURNS = 30;
/** Between crashes, as a share of the run. */
const CRASH_SHARE = 1 / 30;

/**
 * Sessions that begin at random times and think between turns, a fleet that grows by a quarter after a
 * third of the time and shrinks by a sixth after two, and replicas that crash.
 */
export function planTraffic({ seed, sessions, replicas, seconds }: TrafficOptions): Traffic {
  const random = createRandom(seed);
  const word = new Uint32Array(1);
  const uniform = (): number => {
    random.draw(word);
    return ((word[0] ?? 0) + 0.5) / 2 ** 32;
  };
  const between = (from: number, to: number): number => Math.floor(from + (to - from) * uniform());
  const exponential = (mean: number): number => -mean * Math.log(uniform());
  const totalMs = seconds * 1000;

  const plans = Array.from({ length: sessions }, (_, at): SessionPlan => {
    const count = Math.min(1 + Math.floor(exponential(MEAN_TURNS - 0.5)), MOST_TURNS);
    return {
      name: `session-${at}`,
      beginsMs: uniform() * totalMs,
      turns: Array.from({ length: count }, (__, turn) => ({
        askedTokens: turn === 0 ? between(200, 1_600) : between(20, 300),
        answerTokens: between(50, 400),
        thinkMs: exponential(THINK_MS),
      })),
    };
  });
  const small = Math.max(1, Math.round(replicas * 0.8));
  const resizes = [
    { atMs: 0, replicas: small },
    { atMs: totalMs / 3, replicas },
    { atMs: (2 * totalMs) / 3, replicas: Math.max(1, Math.round((replicas * 5) / 6)) },
  ];
  const crashes = Array.from({ length: Math.floor(1 / CRASH_SHARE) - 1 }, (_, at) => ({
    atMs: (at + uniform()) * CRASH_SHARE * totalMs,
    replica: between(0, small),
  }));
  return { sessions: plans, resizes, crashes };
}
