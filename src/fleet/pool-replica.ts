import type { CompleterState } from '../completer.ts';
import type { LoadProgress } from '../load-progress.ts';
import type { AttemptEnd, ReplicaStatus } from './affinity.ts';
import { hashText, type TextHash } from './rendezvous.ts';

/** What the pool knows of one replica; changed in place, since placing reads all of them each time. */
export interface PoolReplica {
  readonly url: string;
  readonly hash: TextHash;
  /** The process there; '' before it was heard of. */
  name: string;
  /** As it said; `unknown` before it did, which is tried like `ready`. */
  state: CompleterState | 'unknown';
  saidMs: number;
  progress: LoadProgress | null;
  /** Answers at once; 0 while it is not known. */
  slots: number;
  /** Requests of this gateway that run there, and their weight. */
  running: number;
  load: number;
  /** Requests of others, as it said last. */
  othersLoad: number;
  /** Failures in a row. */
  failures: number;
  /** Refusals in a row. */
  refusals: number;
  /** No new work before, in milliseconds since 1970. */
  pausedUntilMs: number;
  /** One request tries whether it works again. */
  isOnTrial: boolean;
  /** When it worked again. */
  recoveredMs: number;
}

/**
 * What a replica can do for a new request. `open`: no others should try it, it has failed. `paused`:
 * it said that it cannot just now.
 */
export type Usability = 'ready' | 'idle' | 'loading' | 'draining' | 'open' | 'paused';

/** Of what was said longer ago nothing is known: nobody may have looked since. */
const SAID_MS = 10_000;
/** One failure may be the connection's. */
const FAILURES_TO_OPEN = 2;
const FIRST_OPEN_MS = 500;
const LONGEST_OPEN_MS = 30_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** In which one that has recovered comes from an eighth of its slots to all. */
const RECOVERY_MS = 10_000;
const RECOVERY_SHARE = 1 / 8;

export function createPoolReplica(url: string): PoolReplica {
  return {
    url,
    hash: hashText(url),
    name: '',
    state: 'unknown',
    saidMs: Number.NEGATIVE_INFINITY,
    progress: null,
    slots: 0,
    running: 0,
    load: 0,
    othersLoad: 0,
    failures: 0,
    refusals: 0,
    pausedUntilMs: 0,
    isOnTrial: false,
    recoveredMs: Number.NEGATIVE_INFINITY,
  };
}

export function usabilityOf(replica: PoolReplica, nowMs: number): Usability {
  if (replica.failures >= FAILURES_TO_OPEN) {
    if (replica.isOnTrial || nowMs < replica.pausedUntilMs) return 'open';
  } else if (nowMs < replica.pausedUntilMs) {
    return 'paused';
  }
  if (nowMs - replica.saidMs > SAID_MS) return 'ready';
  switch (replica.state) {
    case 'loading':
    case 'idle':
      return replica.state;
    case 'draining':
    case 'closed':
      return 'draining';
    default:
      return 'ready';
  }
}

/** Weight of what runs and waits there, in requests. */
export function loadOf(replica: PoolReplica, nowMs: number): number {
  return replica.load + othersAt(replica, nowMs);
}

/** Requests that run and wait there; each has a slot of its own, whatever it weighs. */
export function requestsAt(replica: PoolReplica, nowMs: number): number {
  return replica.running + othersAt(replica, nowMs);
}

function othersAt({ saidMs, othersLoad }: PoolReplica, nowMs: number): number {
  return nowMs - saidMs > SAID_MS ? 0 : othersLoad;
}

/** Slots that may be counted on; fewer for a while after it was down. @param assumed where unknown */
export function slotsOf(replica: PoolReplica, nowMs: number, assumed: number): number {
  const slots = replica.slots > 0 ? replica.slots : assumed;
  const upMs = nowMs - replica.recoveredMs;
  return upMs >= RECOVERY_MS ? slots : slots * Math.max(RECOVERY_SHARE, upMs / RECOVERY_MS);
}

/** Takes a request; the end is told once. */
export function occupy(
  replica: PoolReplica,
  weight: number,
  now: () => number,
): (end: AttemptEnd) => void {
  const isTrial = replica.failures >= FAILURES_TO_OPEN;
  const name = replica.name;
  let isOver = false;
  replica.running++;
  replica.load += weight;
  if (isTrial) replica.isOnTrial = true;
  return (end) => {
    if (isOver) return;
    isOver = true;
    replica.running--;
    // Sums of fractions drift: nothing running is no load.
    replica.load = replica.running === 0 ? 0 : replica.load - weight;
    if (end === 'ok') noteWorking(replica, now());
    // What died with the process before this one says nothing of this one.
    else if (end === 'failed' && (name === '' || replica.name === name))
      noteFailure(replica, now());
    else if (end === 'refused') noteRefusal(replica, now());
    if (isTrial) replica.isOnTrial = false;
  };
}

function noteWorking(replica: PoolReplica, nowMs: number): void {
  noteAnswering(replica, nowMs);
  replica.failures = 0;
  replica.refusals = 0;
  replica.pausedUntilMs = 0;
}

/** Its answer began: others may try it too, though only a whole answer clears it. */
export function noteAnswering(replica: PoolReplica, nowMs: number): void {
  if (replica.isOnTrial) replica.recoveredMs = nowMs;
  replica.isOnTrial = false;
}

function noteFailure(replica: PoolReplica, nowMs: number): void {
  // All that ran there fails at once: that is one failure.
  if (replica.failures >= FAILURES_TO_OPEN && nowMs < replica.pausedUntilMs) return;
  replica.failures++;
  const times = replica.failures - FAILURES_TO_OPEN;
  if (times < 0) return;
  replica.pausedUntilMs = nowMs + Math.min(FIRST_OPEN_MS * 2 ** times, LONGEST_OPEN_MS);
}

function noteRefusal(replica: PoolReplica, nowMs: number): void {
  const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** replica.refusals, LONGEST_PAUSE_MS);
  replica.refusals++;
  replica.failures = 0;
  replica.pausedUntilMs = Math.max(replica.pausedUntilMs, nowMs + pauseMs);
}

/** Takes what it said; null: it did not answer, which is as good as two failures. */
export function noteStatus(
  replica: PoolReplica,
  status: ReplicaStatus | null,
  nowMs: number,
): void {
  if (status === null) {
    if (replica.failures < FAILURES_TO_OPEN) replica.failures = FAILURES_TO_OPEN - 1;
    noteFailure(replica, nowMs);
    return;
  }
  noteName(replica, status.replica);
  replica.state = status.state;
  replica.saidMs = nowMs;
  replica.progress = status.progress;
  replica.slots = status.slots;
  replica.othersLoad = Math.max(0, status.running + status.waiting - replica.running);
  // It answers: a request may try it now, and one that fails makes it wait longer than before.
  replica.pausedUntilMs = 0;
}

/** Another process is there, with nothing of what the one before held against it. */
export function noteName(replica: PoolReplica, name: string): void {
  if (name === '' || name === replica.name) return;
  if (replica.name !== '') {
    if (replica.failures >= FAILURES_TO_OPEN) replica.pausedUntilMs = 0;
    replica.othersLoad = 0;
    replica.state = 'unknown';
  }
  replica.name = name;
}
