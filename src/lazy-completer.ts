import type { Completer, CompleterState, ModelCard } from './completer.ts';
import { ServeError } from './errors.ts';
import { createLazyReplica } from './fleet/lazy-replica.ts';
import type { ReplicaAccess } from './fleet/served-model.ts';
import { abortable } from './lib/abortable.ts';
import type { Clock } from './lib/clock.ts';
import { createProgressMeter, type LoadProgress, type ProgressMeter } from './load-progress.ts';
import { createLazySessions } from './sessions/lazy-sessions.ts';
import type { SessionControl } from './sessions/session.ts';
import { createStartTimes } from './start-times.ts';

export interface LazyCompleterOptions<C extends Completer = Completer> {
  /** Finds out about the model without loading it. */
  readonly describe: (signal: AbortSignal) => Promise<ModelCard>;
  /**
   * Loads it; the signal aborts only when the lazy completer is closed or its drain is over. What is
   * given to `onUsable` takes requests before the load is over; when the load fails, those fail too.
   */
  readonly load: (
    signal: AbortSignal,
    onProgress: (loadedBytes: number, totalBytes: number | null) => void,
    onUsable: (completer: C) => void,
  ) => Promise<C>;
  /** Milliseconds without requests after which the model is unloaded; null (default) is never. */
  readonly idleUnloadMs?: number | null;
  readonly clock: Clock;
  /** Observes loading; must not throw. */
  readonly onLoad?: (event: LoadEvent<C>) => void;
}

export type LoadEvent<C extends Completer = Completer> =
  | { readonly type: 'load-begin' }
  | { readonly type: 'load-end'; readonly completer: C; readonly durationMs: number }
  | { readonly type: 'load-failed'; readonly error: unknown }
  /** `error`: what closing it failed with, or null; its memory may then not be free. */
  | { readonly type: 'unload'; readonly error: unknown };

/** A completer whose model is loaded when it is asked for. */
export interface LazyCompleter extends Completer {
  describe(signal?: AbortSignal): Promise<ModelCard>;
  ready(signal?: AbortSignal): Promise<void>;
  progress(): LoadProgress | null;
  /** Those of the loaded model; where it keeps none, every call is refused as not_found. */
  readonly sessions: SessionControl;
  readonly replica: ReplicaAccess;
}

/**
 * Puts loading behind the first request. However many come at once, the model is loaded once; whoever
 * leaves does not stop it. A failed load fails those who waited, and the next request tries again.
 */
export function createLazyCompleter<C extends Completer>(
  options: LazyCompleterOptions<C>,
): LazyCompleter {
  const { clock } = options;
  const idleUnloadMs = options.idleUnloadMs ?? null;
  const onLoad = options.onLoad ?? ((): void => undefined);
  const stop = new AbortController();
  let end: 'open' | 'draining' | 'closed' = 'open';
  let card: ModelCard | null = null;
  let describing: Promise<ModelCard> | null = null;
  let loading: Promise<C> | null = null;
  /** Of the load under way: resolves when requests may go in, with the load at the latest. */
  let usable: Promise<C> | null = null;
  let loaded: C | null = null;
  let unloading: Promise<void> | null = null;
  let closing: Promise<void> | null = null;
  let meter: ProgressMeter | null = null;
  const starts = createStartTimes(clock);
  /** Whoever uses the model or waits for it. */
  let userCount = 0;
  let idleTimer: AbortController | null = null;
  const unused = new Set<() => void>();

  async function startDescribing(): Promise<ModelCard> {
    try {
      const found = await options.describe(stop.signal);
      card ??= found;
      return card;
    } catch (error) {
      throw stop.signal.aborted ? notServing(end) : loadFailure(error);
    }
  }

  async function startLoading(onUsable: (completer: C) => void): Promise<C> {
    const startedMs = clock.now();
    const progress = createProgressMeter(clock);
    meter = progress;
    starts.waiting();
    onLoad({ type: 'load-begin' });
    try {
      // Two models at once may not fit.
      await unloading;
      const completer = await options.load(
        stop.signal,
        (loadedBytes, totalBytes) => progress.update(loadedBytes, totalBytes),
        onUsable,
      );
      if (stop.signal.aborted) {
        await completer.close();
        throw stop.signal.reason;
      }
      progress.finish();
      starts.up();
      loaded = completer;
      // When it was made available does not change by loading it again.
      const createdSeconds = card?.createdSeconds ?? completer.model.createdSeconds;
      card = { ...completer.model, createdSeconds };
      onLoad({ type: 'load-end', completer, durationMs: clock.now() - startedMs });
      return completer;
    } catch (error) {
      meter = null;
      starts.failed();
      if (stop.signal.aborted) throw notServing(end);
      onLoad({ type: 'load-failed', error });
      throw loadFailure(error);
    } finally {
      loading = usable = null;
      unloadWhenIdle();
    }
  }

  function load(): Promise<C> {
    if (loaded !== null) return Promise.resolve(loaded);
    if (loading !== null) return loading;
    let early: ((completer: C) => void) | null = null;
    const pending = startLoading((completer) => early?.(completer));
    usable = new Promise((resolve, reject) => {
      early = resolve;
      pending.then(resolve, reject);
    });
    // Those who wait get it; all may have left.
    usable.catch(() => undefined);
    loading = pending;
    return pending;
  }

  function loadUntilUsable(): Promise<C> {
    const whole = load();
    return usable ?? whole;
  }

  /** Counts as a user of the model from now until `leave`. */
  async function enter(signal: AbortSignal | undefined, wait: () => Promise<C> = load): Promise<C> {
    signal?.throwIfAborted();
    if (end !== 'open') throw notServing(end);
    userCount++;
    idleTimer?.abort();
    idleTimer = null;
    try {
      return await abortable(wait(), signal);
    } catch (error) {
      leave();
      throw error;
    }
  }

  function leave(): void {
    userCount--;
    if (userCount > 0) return;
    for (const wake of unused) wake();
    unused.clear();
    unloadWhenIdle();
  }

  function unloadWhenIdle(): void {
    if (userCount > 0 || loaded === null || idleUnloadMs === null || end !== 'open') return;
    idleTimer?.abort();
    const timer = new AbortController();
    idleTimer = timer;
    void unloadAfter(idleUnloadMs, timer.signal);
  }

  async function unloadAfter(ms: number, signal: AbortSignal): Promise<void> {
    try {
      await clock.sleep(ms, signal);
    } catch {
      return; // a request came
    }
    // One may also have come just after the timer fired.
    if (!signal.aborted) unload();
  }

  function unload(): void {
    const completer = loaded;
    if (completer === null) return;
    loaded = null;
    meter = null;
    idleTimer = null;
    const closed = completer.close().then(
      () => onLoad({ type: 'unload', error: null }),
      (error: unknown) => onLoad({ type: 'unload', error }),
    );
    unloading = closed.finally(() => {
      unloading = null;
    });
  }

  async function use<T>(
    work: (completer: C) => T | Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const completer = await enter(signal);
    try {
      return await work(completer);
    } finally {
      leave();
    }
  }

  async function* stream<T>(
    open: (completer: C) => AsyncIterable<T>,
    signal?: AbortSignal,
  ): AsyncGenerator<T, void, undefined> {
    const completer = await enter(signal, loadUntilUsable);
    const pending = loading;
    try {
      yield* open(completer);
    } catch (error) {
      // What a failed load did to it is told as what failed the load.
      if (pending !== null && loaded !== completer && !stop.signal.aborted) await pending;
      throw error;
    } finally {
      leave();
    }
  }

  async function close(): Promise<void> {
    end = 'closed';
    idleTimer?.abort();
    stop.abort(notServing('closed'));
    await Promise.allSettled([loading, describing, unloading]);
    const completer = loaded;
    loaded = null;
    await completer?.close();
  }

  return {
    get model() {
      if (card !== null) return card;
      if (end !== 'open') throw notServing(end);
      throw new ServeError('model_loading', 'The model is not known yet. Retry in a moment.');
    },
    get state(): CompleterState {
      if (end !== 'open') return end;
      if (loaded !== null) return loaded.state;
      return loading === null ? 'idle' : 'loading';
    },
    async describe(signal) {
      if (card !== null) return card;
      if (end !== 'open') throw notServing(end);
      describing ??= startDescribing();
      const pending = describing;
      const forget = (): void => {
        if (describing === pending) describing = null;
      };
      pending.then(forget, forget);
      return abortable(pending, signal);
    },
    ready: (signal) => use(() => undefined, signal),
    progress: () => meter?.read() ?? null,
    readyInMs: () => starts.remainingMs(),
    complete: (request, signal) => stream((inner) => inner.complete(request, signal), signal),
    replica: createLazyReplica(use, stream),
    tokenize: (request, signal) => use((inner) => inner.tokenize(request, signal), signal),
    detokenize: (ids, signal) => use((inner) => inner.detokenize(ids, signal), signal),
    sessions: createLazySessions(use),
    stats: () => loaded?.stats?.(),
    async drain(deadlineMs) {
      if (end === 'closed') return;
      end = 'draining';
      const startedMs = clock.now();
      idleTimer?.abort();
      const timer = new AbortController();
      const over = clock.sleep(deadlineMs, timer.signal).catch(() => undefined);
      if (userCount > 0) {
        await Promise.race([over, new Promise<void>((resolve) => unused.add(resolve))]);
      }
      timer.abort();
      // What is left is refused: those who wait for the load, and those who run.
      stop.abort(notServing('draining'));
      await loaded?.drain(Math.max(0, deadlineMs - (clock.now() - startedMs)));
    },
    close() {
      closing ??= close();
      return closing;
    },
  };
}

function notServing(end: 'open' | 'draining' | 'closed'): ServeError {
  return new ServeError(
    'draining',
    `The server is ${end === 'closed' ? 'closed' : 'draining'} and takes no more work. Retry elsewhere.`,
  );
}

/** The cause may name places on this machine: it is for the log, clients get the kind of failure. */
function loadFailure(cause: unknown): ServeError {
  const code = ServeError.is(cause) ? cause.code : 'internal';
  return new ServeError(
    code,
    "The model could not be loaded; the server's log says why. The next request tries again.",
    { cause },
  );
}
