import type { CompleterState } from '../completer.ts';
import type { LoadProgress } from '../load-progress.ts';

/**
 * How a platform is told where the next request of a conversation should go. Affinity is an
 * optimisation, never correctness: every request carries all it needs, and whoever gets it can answer.
 *
 * One request to the fleet goes so: `apply` directs it, the answer's headers come, `lost` and `learn`
 * read them, and `done` is called when its last byte was read or it failed.
 */
export interface Affinity {
  /**
   * Directs one attempt.
   * @throws ServeError queue_full, model_loading, draining or upstream_unavailable, with
   *   `retryAfterMs`, where no replica can take it now; the signal's reason on abort
   */
  apply(visit: Visit, signal?: AbortSignal): Direction | Promise<Direction>;
  /**
   * The pin of the visit's session from now on; null keeps none.
   * @param direction what `apply` gave for this attempt, the same object
   */
  learn(answer: AnswerHead, visit: Visit, direction: Direction): string | null;
  /** What the answer says of the pin the visit had. */
  lost(answer: AnswerHead, visit: Visit): Lost;
  /** Base URLs that can be asked how they are; one that wakes is asked until it is up. */
  targets(): readonly Target[];
  /** Takes what a target said of itself; null: it did not answer. Absent where placing needs none. */
  observe?(target: string, status: ReplicaStatus | null): void;
}

/**
 * `no`: the replica that had the conversation has the request, or nobody had it. `moved`: another one
 * has it. `gone`: the request was refused since its replica is gone; a new attempt without pin helps.
 */
export type Lost = 'no' | 'moved' | 'gone';

/** One attempt to reach the fleet. */
export interface Visit {
  /** The conversation, named so that nothing of it leaks (see `sessionName`); null: any replica will do. */
  readonly session: string | null;
  /** What `learn` gave at the session's last visit. */
  readonly pin: string | null;
  /** Names of replicas (`Direction.replica`) that already failed this request. */
  readonly avoid: ReadonlySet<string>;
  /** Tokens of prompt and answer that it may need: its weight in loads. */
  readonly tokens: number;
}

export interface Direction {
  /** Base URL, without a slash at its end. */
  readonly url: string;
  /** Sent with the request. */
  readonly headers: Readonly<Record<string, string>>;
  /** The replica it goes to, where that is known before the answer. */
  readonly replica: string | null;
  /** Must be called once, when the attempt is over; frees what `apply` took. */
  done(end: AttemptEnd): void;
}

/** `failed`: it did not answer, or broke off. `refused`: it answered that it cannot now. */
export type AttemptEnd = 'ok' | 'failed' | 'refused' | 'aborted';

/** All of a response but its body. */
export type AnswerHead = Pick<Response, 'status' | 'headers'>;

export interface Target {
  readonly url: string;
  /** Sent with the question. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What a replica says of itself. */
export interface ReplicaStatus {
  /** Drawn when its process began: another one has another cache. */
  readonly replica: string;
  readonly state: CompleterState;
  /** Equal fingerprints, equal model; null while it is not known. */
  readonly fingerprint: string | null;
  /** Answers computed now, waiting, and computed at most at once. 0 while nothing is loaded. */
  readonly running: number;
  readonly waiting: number;
  readonly slots: number;
  /** How far the load is; null while there is none. */
  readonly progress: LoadProgress | null;
}
