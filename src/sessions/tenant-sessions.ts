import type { KvContent } from '../engine/kv/kv-store.ts';
import { abortable } from '../lib/abortable.ts';
import type { Clock } from '../lib/clock.ts';
import { createSemaphore } from '../lib/semaphore.ts';
import { contentsOf, nextContents } from './session-contents.ts';
import type { SessionFiles } from './session-files.ts';
import type { Session, SessionEvent, SessionMemory, SessionTurn } from './session.ts';

/** The sessions of one tenant. Whatever is done to them is done one after the other. */
export interface TenantSessions {
  /** Takes a turn; it counts before anything that is asked for later. */
  record(id: string, content: KvContent, turn: SessionTurn): void;
  /**
   * Runs `work` when everything before it is done.
   * @param signal ends the waiting; work that has begun is finished
   * @throws what the store failed with while old sessions were loaded, or what `work` throws
   */
  run<T>(work: (desk: SessionDesk) => Promise<T> | T, signal?: AbortSignal): Promise<T>;
  /** Drops what has expired. */
  sweep(): Promise<void>;
  /** Whether there is nothing to sweep. */
  isEmpty(): boolean;
}

/** A session before it is known what else is held under its id. */
export type SessionDraft = Omit<Session, 'branches'>;

/** What `run` gives out. */
export interface SessionDesk {
  /** Least recently used first; none that has expired. */
  all(): readonly Session[];
  find(id: string): Session | null;
  /** Replaces one that is there. */
  save(session: Session): void;
  /** Adds or replaces one as the most recently used, and drops others until the quota holds. */
  use(draft: SessionDraft): Promise<Session>;
  /** @throws what a store failed with; it is still there then */
  remove(session: Session): Promise<void>;
}

export interface TenantSessionsOptions {
  readonly tenant: string;
  readonly files: SessionFiles | null;
  readonly memory: SessionMemory;
  readonly clock: Clock;
  readonly ttlMs: number;
  /** Bytes in host memory and store that the latest contents may hold; shared ones count each time. */
  readonly quotaBytes: number | null;
  readonly quotaCount: number | null;
  /** Ends what nobody waits for. */
  readonly stop: AbortSignal;
  readonly onEvent: (event: SessionEvent) => void;
}

/** Turns that wait for a store that cannot be read; beyond it the oldest are lost. */
const MAX_PENDING = 256;
/** Turns whose names are remembered per session. */
const MAX_TURN_NAMES = 16;
/** After dropping an expired session failed. */
const RETRY_MS = 60_000;

interface Entry {
  session: Session;
  /** Names of its latest turns. */
  readonly turns: readonly string[];
  /** No attempt to drop it before. */
  retryMs: number;
}

interface Recording {
  readonly id: string;
  readonly content: KvContent;
  readonly turn: SessionTurn;
  readonly atMs: number;
}

export function createTenantSessions(options: TenantSessionsOptions): TenantSessions {
  const { tenant, files, memory, clock, stop, onEvent } = options;
  const queue = createSemaphore(1);
  /** By id, least recently used first; expired ones until they are dropped. */
  const entries = new Map<string, Entry>();
  const pending: Recording[] = [];
  let isLoaded = files === null;
  /** Pending turns will be looked at. */
  let isDue = false;

  const isLive = (session: Session): boolean => session.expiresMs > clock.now();

  function find(id: string): Session | null {
    const session = entries.get(id)?.session;
    return session !== undefined && isLive(session) ? session : null;
  }

  async function load(signal: AbortSignal | undefined): Promise<void> {
    if (isLoaded || files === null) return;
    const found = await files.load(tenant, signal);
    for (const session of found.toSorted((a, b) => a.usedMs - b.usedMs)) {
      entries.set(session.id, { session, turns: [], retryMs: 0 });
    }
    isLoaded = true;
  }

  async function forget(contents: readonly KvContent[], except: Entry | null): Promise<void> {
    const kept = Array.from(entries.values())
      .filter((entry) => entry !== except)
      .flatMap(({ session }) => contentsOf(session));
    for (const content of contents) {
      const shared = kept.filter(({ scope }) => scope === content.scope);
      await memory.forget(content, shared, stop);
    }
  }

  /** Its pages go first: without its file nobody would find them. */
  async function drop(entry: Entry): Promise<void> {
    const { session } = entry;
    await forget(contentsOf(session), entry);
    await files?.remove(session, stop);
    entries.delete(session.id);
  }

  async function dropExpired(): Promise<void> {
    for (const entry of Array.from(entries.values())) {
      if (isLive(entry.session) || entry.retryMs > clock.now()) continue;
      try {
        await drop(entry);
      } catch (error) {
        entry.retryMs = clock.now() + RETRY_MS;
        onEvent({ type: 'session-drop-failed', error });
        continue;
      }
      // One that a quota let expire was reported as that.
      if (entry.session.expiresMs > 0) onEvent({ type: 'session-dropped', reason: 'expired' });
    }
  }

  /** Lets the least recently used expire at once until the quota holds. */
  function enforceQuota(kept: string): void {
    const quotaCount = options.quotaCount ?? Infinity;
    const quotaBytes = options.quotaBytes ?? Infinity;
    let count = 0;
    let sizeBytes = 0;
    for (const entry of Array.from(entries.values()).toReversed()) {
      const { session } = entry;
      if (!isLive(session)) continue;
      count++;
      if (quotaBytes < Infinity && sizeBytes <= quotaBytes) {
        const places = memory.where(session.content);
        sizeBytes += places.hostBytes + places.storeBytes;
      }
      if ((count <= quotaCount && sizeBytes <= quotaBytes) || session.id === kept) continue;
      entry.session = { ...session, expiresMs: 0 };
      onEvent({ type: 'session-dropped', reason: 'quota' });
    }
  }

  /** Whatever was held under its id, in an expired session too, is the new one's to forget. */
  async function use(draft: SessionDraft, turns: readonly string[]): Promise<Session> {
    const held = entries.get(draft.id);
    const before = held === undefined ? [] : contentsOf(held.session);
    const { outdated, ...contents } = nextContents(draft.content, before);
    const session: Session = { ...draft, ...contents };
    // Deleted first, so that it comes last.
    entries.delete(session.id);
    entries.set(session.id, { session, turns, retryMs: 0 });
    files?.save(session);
    enforceQuota(session.id);
    await dropExpired();
    try {
      await forget(outdated, null);
    } catch (error) {
      onEvent({ type: 'session-drop-failed', error });
    }
    return session;
  }

  async function apply({ id, content, turn, atMs }: Recording): Promise<void> {
    const before = find(id);
    const names = before === null ? [] : (entries.get(id)?.turns ?? []);
    const isKnown = names.includes(turn.turn);
    const ttlMs = before?.ttlMs ?? options.ttlMs;
    const draft: SessionDraft = {
      id,
      tenant,
      createdMs: before?.createdMs ?? atMs,
      usedMs: atMs,
      expiresMs: atMs + ttlMs,
      ttlMs,
      turns: (before?.turns ?? 0) + (isKnown ? 0 : 1),
      savedTokens: (before?.savedTokens ?? 0) + (isKnown ? 0 : turn.savedTokens),
      parent: before?.parent ?? null,
      metadata: before?.metadata ?? {},
      content,
    };
    await use(draft, isKnown ? names : [turn.turn, ...names].slice(0, MAX_TURN_NAMES));
  }

  async function catchUp(signal: AbortSignal | undefined): Promise<void> {
    await load(signal);
    isDue = false;
    for (let next = pending.shift(); next !== undefined; next = pending.shift()) await apply(next);
    await dropExpired();
  }

  const desk: SessionDesk = {
    all: () => Array.from(entries.values(), ({ session }) => session).filter(isLive),
    find,
    save(session) {
      const entry = entries.get(session.id);
      if (entry === undefined) return;
      entry.session = session;
      files?.save(session);
    },
    use: (draft) => use(draft, []),
    async remove(session) {
      const entry = entries.get(session.id);
      if (entry !== undefined) await drop(entry);
    },
  };

  function run<T>(work: (desk: SessionDesk) => Promise<T> | T, signal?: AbortSignal): Promise<T> {
    const turn = async (): Promise<T> => {
      await catchUp(signal);
      return work(desk);
    };
    return abortable(queue.run(turn, signal), signal);
  }

  async function sweep(): Promise<void> {
    try {
      await run(() => undefined, stop);
    } catch (error) {
      isDue = false;
      if (!stop.aborted) onEvent({ type: 'session-load-failed', error });
    }
  }

  return {
    record(id, content, turn) {
      if (pending.length >= MAX_PENDING) pending.shift();
      pending.push({ id, content, turn, atMs: clock.now() });
      // One look that has not begun sees all that is pending.
      if (!isDue) void sweep();
      isDue = true;
    },
    run,
    sweep,
    isEmpty: () => entries.size === 0 && pending.length === 0,
  };
}
