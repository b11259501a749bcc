import type { CompleterState } from '../completer.ts';
import { ServeError } from '../errors.ts';
import { boundedText } from '../lib/bounded-body.ts';
import { abortable } from '../lib/abortable.ts';
import type { Clock } from '../lib/clock.ts';
import { LATE, settledWithin } from '../lib/settled-within.ts';
import type { LoadProgress } from '../load-progress.ts';
import { createStartTimes, type StartTimes } from '../start-times.ts';
import type { Affinity, ReplicaStatus, Target } from './affinity.ts';
import type { FleetLink } from './fleet-link.ts';
import { countReplicas, type FleetState } from './fleet-state.ts';
import type { FleetEvent } from './remote-engine.ts';
import { parseStatus } from './replica-status.ts';

/** What is known of how the fleet is, and the one call that wakes it, however many wait. */
export interface FleetWatch {
  /** `idle`: nobody knows, or nothing is up; the next request wakes it. */
  readonly state: Extract<CompleterState, 'idle' | 'loading' | 'ready'>;
  /** Of the replica that is furthest; null while none loads. */
  progress(): LoadProgress | null;
  /** Takes what a replica says while it makes a request wait. */
  note(status: Pick<ReplicaStatus, 'state' | 'progress'>): void;
  /** A replica answered. */
  noteReady(): void;
  /** No replica is up, or none has its model. */
  noteCold(): void;
  /**
   * Asks all targets, again and again, until one takes requests.
   * @throws ServeError model_loading after too long; the signal's reason on abort
   */
  untilReady(signal?: AbortSignal): Promise<void>;
  /** Whether a target took requests when it was last asked. */
  isUp(url: string): boolean;
  /** What health routes and metrics tell. */
  fleet(): FleetState;
  /** Milliseconds until the fleet is up, by how long that took before; null where that tells nothing. */
  readyInMs(): number | null;
  close(): void;
}

export interface FleetWatchOptions {
  readonly affinity: Affinity;
  readonly link: FleetLink;
  readonly clock: Clock;
  /**
   * Milliseconds between looks while nobody asks; null (default) never looks, which lets platforms
   * scale to zero.
   */
  readonly pollMs?: number | null;
  /** Milliseconds a cold fleet may take; default 15 minutes. */
  readonly coldMs?: number;
  /** Whether an earlier watch saw it ready just now; default false. */
  readonly isReady?: boolean;
  /** Observes; must not throw. */
  readonly onEvent?: (event: FleetEvent) => void;
  /** Where watches of one fleet come and go: what they share, see `createFleetStarts`. */
  readonly starts?: StartTimes;
}

const MAX_STATUS_BYTES = 64 * 1024;
const STATUS = '/replica/v1/status';
const NOTHING = new Uint8Array(0);
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 2_000;
const ANSWER_MS = 10_000;
const COLD_MS = 15 * 60_000;
/** What was seen so long ago is not known any more: the platform may have gone to zero. */
const KNOWN_MS = 5 * 60_000;
/** How often it is said that a replica is still down. */
const SAY_AGAIN_MS = 60_000;
/** Clients that were refused are back sooner. */
const WAITERS_GONE_MS = 90_000;

/** How long starts of a fleet took; they end unseen where the last who waits leaves. */
export function createFleetStarts(clock: Clock): StartTimes {
  return createStartTimes(clock, WAITERS_GONE_MS);
}

export function createFleetWatch(options: FleetWatchOptions): FleetWatch {
  const { affinity, link, clock } = options;
  const coldMs = options.coldMs ?? COLD_MS;
  const stop = new AbortController();
  let seen: 'idle' | 'loading' | 'ready' = options.isReady === true ? 'ready' : 'idle';
  let seenMs = clock.now();
  let progress: LoadProgress | null = null;
  let waking: Promise<void> | null = null;
  /** When it was last said of replicas that they are down, by URL. */
  const down = new Map<string, number>();
  let onReady: (() => void) | null = null;
  const starts = options.starts ?? createFleetStarts(clock);
  /** What each target said last, by URL; null: it did not answer. */
  const said = new Map<string, ReplicaStatus | null>();
  /** URLs of those that have not answered yet. */
  const asked = new Set<string>();

  function sayUp(url: string): void {
    if (down.delete(url)) options.onEvent?.({ type: 'replica-up', url });
  }

  function sayDown(url: string, error: unknown): void {
    const saidMs = down.get(url);
    if (saidMs !== undefined && clock.now() - saidMs < SAY_AGAIN_MS) return;
    down.set(url, clock.now());
    options.onEvent?.({ type: 'replica-down', url, error });
  }

  function set(state: typeof seen, loading: LoadProgress | null = null): void {
    seen = state;
    seenMs = clock.now();
    progress = loading;
    if (state === 'ready') starts.up();
  }

  async function statusOf(target: Target): Promise<ReplicaStatus | null> {
    const over = new AbortController();
    try {
      const both = AbortSignal.any([stop.signal, over.signal]);
      const asking = link.send(target, 'GET', STATUS, NOTHING, both).then(async (response) => {
        if (response.ok) return parseStatus(await boundedText(response, MAX_STATUS_BYTES));
        await response.body?.cancel();
        throw new Error(`it answered ${response.status}`);
      });
      const status = await settledWithin(asking, ANSWER_MS, clock);
      if (status === LATE) throw new Error(`it did not answer for ${ANSWER_MS / 1000} s`);
      if (status === null) throw new Error('it answered as no replica does');
      sayUp(target.url);
      return status;
    } catch (error) {
      if (!stop.signal.aborted) sayDown(target.url, error);
      return null;
    } finally {
      over.abort();
    }
  }

  async function ask(target: Target): Promise<void> {
    const { url } = target;
    asked.add(url);
    const status = await statusOf(target);
    asked.delete(url);
    if (stop.signal.aborted) return;
    said.set(url, status);
    affinity.observe?.(url, status);
    judge();
  }

  /** Asks all that are not being asked. Each answer counts when it comes: a silent one delays no other. */
  function look(): void {
    const targets = affinity.targets();
    const urls = new Set(targets.map(({ url }) => url));
    for (const url of said.keys()) if (!urls.has(url)) said.delete(url);
    if (targets.length === 0) judge();
    for (const target of targets) if (!asked.has(target.url)) void ask(target);
  }

  function judge(): void {
    const up = [...said.values()].filter((status) => status !== null);
    const loading = up.filter(({ state }) => state === 'loading');
    // One whose model is loaded by the first request takes requests.
    if (up.some(takesRequests)) {
      set('ready');
      onReady?.();
    } else if (loading.length > 0) {
      set('loading', furthest(loading.map((status) => status.progress)));
    } else {
      set(waking === null ? 'idle' : 'loading', null);
    }
  }

  async function wake(): Promise<void> {
    const deadlineMs = clock.now() + coldMs;
    said.clear();
    const ready = new Promise<boolean>((resolve) => {
      onReady = () => resolve(true);
    });
    for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(2 * waitMs, LONGEST_WAIT_MS)) {
      starts.waiting();
      look();
      if (await settledBefore(ready, waitMs)) return;
      if (clock.now() >= deadlineMs) {
        starts.failed();
        throw new ServeError(
          'model_loading',
          `No replica came up within ${Math.round(coldMs / 1000)} s. Retry later.`,
          { retryAfterMs: 60_000 },
        );
      }
    }
  }

  /** @throws what the watch was closed with */
  async function settledBefore(ready: Promise<boolean>, waitMs: number): Promise<boolean> {
    const over = new AbortController();
    const pause = clock.sleep(waitMs, AbortSignal.any([stop.signal, over.signal]));
    try {
      return await Promise.race([ready, pause.then(() => false)]);
    } finally {
      over.abort();
    }
  }

  async function poll(pollMs: number): Promise<void> {
    while (!stop.signal.aborted) {
      look();
      await clock.sleep(pollMs, stop.signal).catch(() => undefined);
    }
  }

  function stateNow(): FleetWatch['state'] {
    if (waking !== null && seen === 'idle') return 'loading';
    return clock.now() - seenMs > KNOWN_MS ? 'idle' : seen;
  }

  const { pollMs = null } = options;
  if (pollMs !== null) void poll(pollMs);

  return {
    get state() {
      return stateNow();
    },
    progress: () => progress,
    note(status) {
      if (status.state === 'loading') set('loading', status.progress);
      else if (status.state === 'ready') set('ready');
    },
    noteReady: () => set('ready'),
    noteCold() {
      said.clear();
      if (seen === 'ready') set('idle');
    },
    untilReady(signal) {
      if (waking === null) {
        waking = wake().finally(() => {
          waking = onReady = null;
        });
        // Those who wait get it; all may have left.
        waking.catch(() => undefined);
      }
      return abortable(waking, signal);
    },
    isUp(url) {
      const status = said.get(url);
      return status !== undefined && status !== null && takesRequests(status);
    },
    fleet() {
      const isOld = said.size === 0 || clock.now() - seenMs > KNOWN_MS;
      const replicas = isOld ? null : countReplicas(said.values());
      const known = stateNow();
      if (known !== 'idle') return { state: known, replicas };
      return { state: (replicas?.draining ?? 0) > 0 ? 'draining' : 'cold', replicas };
    },
    readyInMs: () => starts.remainingMs(),
    close: () => stop.abort(new ServeError('draining', 'The gateway is closed.')),
  };
}

function takesRequests({ state }: ReplicaStatus): boolean {
  return state === 'ready' || state === 'idle';
}

function furthest(all: readonly (LoadProgress | null)[]): LoadProgress | null {
  return all.toSorted((a, b) => share(b) - share(a))[0] ?? null;
}

function share(progress: LoadProgress | null): number {
  if (progress === null) return -1;
  return progress.loadedBytes / (progress.totalBytes ?? Number.POSITIVE_INFINITY);
}
