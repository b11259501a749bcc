import type { KvContent } from '../engine/kv/kv-store.ts';

/** A conversation that its client gave a name: what is kept of it, and for how long. */
export interface Session {
  /** The client's own name for it, unique within the tenant. */
  readonly id: string;
  /** Who it belongs to; opaque. */
  readonly tenant: string;
  /** Times are milliseconds since 1970. */
  readonly createdMs: number;
  /** End of its latest turn, or when it was forked. */
  readonly usedMs: number;
  readonly expiresMs: number;
  /** How long it is kept after each use. */
  readonly ttlMs: number;
  readonly turns: number;
  /** Prompt tokens of all its turns that need not be computed. */
  readonly savedTokens: number;
  /** The session it was forked from, which may be gone. */
  readonly parent: string | null;
  readonly metadata: SessionMetadata;
  /** What its latest turn left, by which its keys and values are found. */
  readonly content: KvContent;
  /** What earlier turns left that `content` does not go on from, latest first. */
  readonly branches: readonly KvContent[];
}

/** The client's own notes. */
export type SessionMetadata = Readonly<Record<string, string>>;

/** The client's view of a session: `Session` and where its latest content lies now. */
export interface SessionReport extends Omit<Session, 'tenant' | 'content' | 'branches'> {
  readonly tokens: number;
  readonly imageCount: number;
  readonly places: SessionPlaces;
}

/** How much of a content each tier holds, counted from its start. */
export interface SessionPlaces {
  readonly deviceTokens: number;
  readonly hostTokens: number;
  readonly hostBytes: number;
  readonly storeTokens: number;
  readonly storeBytes: number;
}

/** The port to keys and values. */
export interface SessionMemory {
  where(content: KvContent): SessionPlaces;
  /**
   * Removes a content from every tier, except what it shares with others; one that is nowhere is
   * fine. What a running request uses may stay until that ends.
   * @param sharedWith contents of the same scope that stay
   * @throws what a store failed with; a later call does the rest
   */
  forget(content: KvContent, sharedWith: readonly KvContent[], signal?: AbortSignal): Promise<void>;
}

/**
 * What clients may do with their sessions; `null` and `false` where the tenant has none of this id.
 * Every call throws ServeError weights_unavailable when the store failed, and draining at the end.
 */
export interface SessionControl {
  /** @throws ServeError invalid_request when `after` names none */
  list(tenant: string, page: SessionCursor, signal?: AbortSignal): Promise<SessionPage>;
  get(tenant: string, id: string, signal?: AbortSignal): Promise<SessionReport | null>;
  put(
    tenant: string,
    id: string,
    change: SessionChange,
    signal?: AbortSignal,
  ): Promise<SessionReport | null>;
  /**
   * Makes a session that goes on from what another holds now; nothing is copied.
   * @param newId null draws one
   * @throws ServeError invalid_request when `newId` is taken
   */
  fork(
    tenant: string,
    id: string,
    newId: string | null,
    signal?: AbortSignal,
  ): Promise<SessionReport | null>;
  /** Resolves when it is gone from every tier and from the store. */
  remove(tenant: string, id: string, signal?: AbortSignal): Promise<boolean>;
}

export interface SessionCursor {
  readonly limit: number;
  /** Id of the last session of the page before; null for the first page. */
  readonly after: string | null;
}

export interface SessionPage {
  /** Latest created first. */
  readonly sessions: readonly SessionReport[];
  readonly hasMore: boolean;
}

/** What is left out stays. */
export interface SessionChange {
  /** Replaces all of it. */
  readonly metadata?: SessionMetadata;
  /** Counts from now on, and from each later use. */
  readonly ttlMs?: number;
}

/** One turn of a session, when it is over. */
export interface SessionTurn {
  /** Names the turn within the session: recorded again, it replaces its content and counts once. */
  readonly turn: string;
  /** Prompt tokens that were not computed. */
  readonly savedTokens: number;
}

/** What happens to sessions, for logs; never with their ids, tenants or contents. */
export type SessionEvent =
  /** A file of the store that is no session of its place; it is left as it is. */
  | { readonly type: 'session-damaged'; readonly key: string; readonly error: unknown }
  | { readonly type: 'session-load-failed'; readonly error: unknown }
  /** It is tried again. */
  | { readonly type: 'session-write-failed'; readonly error: unknown }
  | { readonly type: 'session-dropped'; readonly reason: 'expired' | 'quota' }
  /** Forgetting failed; what expired is tried again later. */
  | { readonly type: 'session-drop-failed'; readonly error: unknown };
