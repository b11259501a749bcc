import type { KvContent } from '../engine/kv/kv-store.ts';
import { ServeError } from '../errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Sha256 } from '../lib/sha256-hex.ts';
import type { ObjectStore } from '../weights/object-store.ts';
import { createSessionFiles } from './session-files.ts';
import type {
  Session,
  SessionControl,
  SessionEvent,
  SessionMemory,
  SessionPage,
  SessionReport,
  SessionTurn,
} from './session.ts';
import { createTenantSessions, type SessionDesk, type TenantSessions } from './tenant-sessions.ts';

/** All sessions of this process. A tenant's sessions belong to one process at a time. */
export interface SessionRegistry extends SessionControl {
  /**
   * Notes the end of a turn, which begins the session if there is none of this id; turns count in
   * the order of these calls. Never fails: what cannot be stored yet is stored later.
   * @param content must not change afterwards
   */
  record(tenant: string, id: string, content: KvContent, turn: SessionTurn): void;
  /** Waits until all that was recorded is stored. */
  flush(signal?: AbortSignal): Promise<void>;
  /** Tries once more to store what is not stored, and ends all timers. */
  close(): Promise<void>;
}

export interface SessionRegistryOptions {
  /** Where sessions outlive this process; null: they end with it. */
  readonly store: ObjectStore | null;
  /** Proves files of the store, see `createKeyedHash`; null (default): nothing does. */
  readonly keyedHash?: Sha256 | null;
  readonly clock: Clock;
  readonly memory: SessionMemory;
  /** How long a session is kept after each use; default 24 hours. */
  readonly ttlMs?: number;
  /** Bytes of host memory and store per tenant; null is any. */
  readonly quotaBytes: number | null;
  /** Sessions per tenant; null is any. */
  readonly quotaCount: number | null;
  /** Observes; must not throw. */
  readonly onEvent?: (event: SessionEvent) => void;
}

const TTL_MS = 24 * 60 * 60_000;
/** Between looks for what has expired. */
const SWEEP_MS = 60_000;

export function createSessionRegistry(options: SessionRegistryOptions): SessionRegistry {
  const { store, clock, memory } = options;
  const onEvent = options.onEvent ?? ((): void => undefined);
  const stop = new AbortController();
  const files =
    store === null
      ? null
      : createSessionFiles({ store, clock, keyedHash: options.keyedHash ?? null, onEvent });
  const tenants = new Map<string, TenantSessions>();
  let sweeping: Promise<void> | null = null;

  async function sweepAll(): Promise<void> {
    let isEmpty = false;
    while (!isEmpty) {
      try {
        await clock.sleep(SWEEP_MS, stop.signal);
      } catch {
        return; // closed
      }
      isEmpty = true;
      for (const sessions of tenants.values()) {
        await sessions.sweep();
        isEmpty = isEmpty && sessions.isEmpty();
      }
    }
  }

  function tenantOf(tenant: string): TenantSessions {
    if (stop.signal.aborted) throw new ServeError('draining', 'The sessions are closed.');
    let sessions = tenants.get(tenant);
    if (sessions === undefined) {
      sessions = createTenantSessions({
        tenant,
        files,
        memory,
        clock,
        ttlMs: options.ttlMs ?? TTL_MS,
        quotaBytes: options.quotaBytes,
        quotaCount: options.quotaCount,
        stop: stop.signal,
        onEvent,
      });
      tenants.set(tenant, sessions);
    }
    sweeping ??= sweepAll().finally(() => {
      sweeping = null;
    });
    return sessions;
  }

  async function onDesk<T>(
    tenant: string,
    work: (desk: SessionDesk) => Promise<T> | T,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    try {
      return await tenantOf(tenant).run(work, signal);
    } catch (error) {
      throw signal?.aborted === true ? error : withoutPlaces(error);
    }
  }

  const settled = (signal?: AbortSignal): Promise<unknown> =>
    Promise.allSettled(
      Array.from(tenants.values(), (sessions) => sessions.run(() => undefined, signal)),
    );

  return {
    record(tenant, id, content, turn) {
      if (!stop.signal.aborted) tenantOf(tenant).record(id, content, turn);
    },
    list: async (tenant, { limit, after }, signal) =>
      onDesk(
        tenant,
        (desk): SessionPage => {
          const sorted = desk.all().toSorted(latestCreatedFirst);
          const last = after === null ? -1 : sorted.findIndex(({ id }) => id === after);
          if (after !== null && last < 0) throw invalid('after', 'names no session of yours');
          const page = sorted.slice(last + 1, last + 1 + limit);
          return {
            sessions: page.map((session) => report(session, memory)),
            hasMore: sorted.length > last + 1 + limit,
          };
        },
        signal,
      ),
    get: async (tenant, id, signal) =>
      onDesk(
        tenant,
        (desk) => {
          const session = desk.find(id);
          return session === null ? null : report(session, memory);
        },
        signal,
      ),
    put: async (tenant, id, change, signal) =>
      onDesk(
        tenant,
        (desk) => {
          const before = desk.find(id);
          if (before === null) return null;
          const { metadata = before.metadata, ttlMs } = change;
          const expiry = ttlMs === undefined ? {} : { ttlMs, expiresMs: clock.now() + ttlMs };
          const session: Session = { ...before, metadata, ...expiry };
          desk.save(session);
          return report(session, memory);
        },
        signal,
      ),
    fork: async (tenant, id, newId, signal) =>
      onDesk(
        tenant,
        async (desk) => {
          const parent = desk.find(id);
          if (parent === null) return null;
          const forkId = newId ?? `sess_${crypto.randomUUID().replaceAll('-', '')}`;
          if (desk.find(forkId) !== null) throw invalid('id', 'is taken by another session');
          const nowMs = clock.now();
          const { branches: _, ...shared } = parent;
          const session = await desk.use({
            ...shared,
            id: forkId,
            createdMs: nowMs,
            usedMs: nowMs,
            expiresMs: nowMs + parent.ttlMs,
            savedTokens: 0,
            parent: id,
          });
          return report(session, memory);
        },
        signal,
      ),
    remove: async (tenant, id, signal) =>
      onDesk(
        tenant,
        async (desk) => {
          const session = desk.find(id);
          if (session === null) return false;
          await desk.remove(session);
          return true;
        },
        signal,
      ),
    async flush(signal) {
      await settled(signal);
      await files?.flush(signal);
    },
    async close() {
      stop.abort(new ServeError('draining', 'The sessions are closed.'));
      await settled();
      await sweeping;
      await files?.close();
    },
  };
}

function latestCreatedFirst(a: Session, b: Session): number {
  return b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1);
}

function report(session: Session, memory: SessionMemory): SessionReport {
  const { tenant: _tenant, content, branches: _branches, ...rest } = session;
  return {
    ...rest,
    tokens: content.words.length,
    imageCount: content.images.length,
    places: memory.where(content),
  };
}

function invalid(param: string, phrase: string): ServeError {
  return new ServeError('invalid_request', `${param} ${phrase}.`, { param });
}

/** What a store failed with may name places: it is for the log, clients get that it failed. */
function withoutPlaces(error: unknown): unknown {
  if (ServeError.is(error) && ['invalid_request', 'draining'].includes(error.code)) return error;
  return new ServeError(
    'weights_unavailable',
    'The sessions could not be read or changed, because their store failed. Retry in a moment.',
    { cause: error },
  );
}
