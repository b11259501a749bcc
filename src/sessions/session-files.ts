import { ServeError } from '../errors.ts';
import { abortable } from '../lib/abortable.ts';
import type { Clock } from '../lib/clock.ts';
import { runBounded } from '../lib/run-bounded.ts';
import { sha256Hex, type Sha256 } from '../lib/sha256-hex.ts';
import type { ObjectStore } from '../weights/object-store.ts';
import { readJson } from '../weights/read-json.ts';
import { encodeSession, parseSession } from './session-json.ts';
import { openSession, sealSession } from './session-seal.ts';
import type { Session, SessionEvent } from './session.ts';

/** Sessions in an object store, so that a restart finds them: `sessions/<tenant>/<id>.json`, hashed. */
export interface SessionFiles {
  /**
   * Every session of a tenant; damaged files are left out.
   * @throws what the store failed with
   */
  load(tenant: string, signal?: AbortSignal): Promise<readonly Session[]>;
  /** Writes it as soon as may be, and again until that succeeds; of several of one id the last. */
  save(session: Session): void;
  /**
   * Resolves when no file of it is left or will be written.
   * @throws what the store failed with; a write that waited still waits
   */
  remove(session: Session, signal?: AbortSignal): Promise<void>;
  /** Waits until all that was saved is written. */
  flush(signal?: AbortSignal): Promise<void>;
  /** Tries once more what waits, and ends. */
  close(): Promise<void>;
}

export interface SessionFilesOptions {
  readonly store: ObjectStore;
  readonly clock: Clock;
  /** Names files and proves them, see `createKeyedHash`; null: they are named by SHA-256 and prove nothing. */
  readonly keyedHash: Sha256 | null;
  readonly onEvent: (event: SessionEvent) => void;
}

const READS_AT_ONCE = 8;
/** Wait after a failed write; doubles up to the longest. */
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;

export function createSessionFiles(options: SessionFilesOptions): SessionFiles {
  const { store, clock, keyedHash, onEvent } = options;
  const hash = keyedHash ?? sha256Hex;
  /** The latest state of each session that is not written, by `nameOf`. */
  const waiting = new Map<string, Session>();
  const closing = new AbortController();
  let current: { readonly name: string; readonly done: Promise<boolean> } | null = null;
  let running: Promise<void> | null = null;

  async function folderOf(tenant: string): Promise<string> {
    return `sessions/${await hash(new TextEncoder().encode(tenant))}`;
  }

  async function keyOf(tenant: string, id: string): Promise<string> {
    return `${await folderOf(tenant)}/${await hash(new TextEncoder().encode(id))}.json`;
  }

  /** @returns whether it is written */
  async function write(name: string, session: Session): Promise<boolean> {
    try {
      const key = await keyOf(session.tenant, session.id);
      const bytes =
        keyedHash === null ? encodeSession(session) : await sealSession(session, key, keyedHash);
      await store.write(key, bytes);
    } catch (error) {
      onEvent({ type: 'session-write-failed', error });
      return false;
    }
    if (waiting.get(name) === session) waiting.delete(name);
    return true;
  }

  async function writeAll(): Promise<void> {
    let delayMs = FIRST_RETRY_MS;
    while (waiting.size > 0) {
      const isLast = closing.signal.aborted;
      let hasFailed = false;
      for (const [name, session] of Array.from(waiting)) {
        // Saved again or removed since: the next round, or none.
        if (waiting.get(name) !== session) continue;
        current = { name, done: write(name, session) };
        if (!(await current.done)) hasFailed = true;
        current = null;
      }
      if (!hasFailed) delayMs = FIRST_RETRY_MS;
      else if (isLast) return;
      else {
        await clock.sleep(delayMs, closing.signal).catch(() => undefined);
        delayMs = Math.min(2 * delayMs, LONGEST_RETRY_MS);
      }
    }
  }

  function start(): void {
    if (running !== null || waiting.size === 0) return;
    running = writeAll().finally(() => {
      running = null;
      if (!closing.signal.aborted) start();
    });
  }

  async function loadOne(
    tenant: string,
    key: string,
    signal: AbortSignal,
  ): Promise<Session | null> {
    try {
      const value = await readJson(store, key, signal);
      if (value === undefined) return null;
      const session =
        keyedHash === null ? parseSession(value) : await openSession(value, tenant, key, keyedHash);
      if (session.tenant === tenant && (await keyOf(tenant, session.id)) === key) return session;
      throw new TypeError('the stored session belongs to another place');
    } catch (error) {
      const isStoreFailure = ServeError.is(error) && error.code === 'weights_unavailable';
      if (isStoreFailure || signal.aborted) throw error;
      onEvent({ type: 'session-damaged', key, error });
      return null;
    }
  }

  return {
    async load(tenant, signal) {
      const keys: string[] = [];
      for await (const { key } of store.listPrefix(`${await folderOf(tenant)}/`, signal)) {
        keys.push(key);
      }
      const found: Session[] = [];
      const loadAt = async (index: number, lane: AbortSignal): Promise<void> => {
        const session = await loadOne(tenant, keys[index] ?? '', lane);
        if (session !== null) found.push(session);
      };
      await runBounded(keys.length, READS_AT_ONCE, loadAt, signal);
      return found;
    },
    save(session) {
      waiting.set(nameOf(session), session);
      start();
    },
    async remove(session, signal) {
      const name = nameOf(session);
      const unwritten = waiting.get(name);
      waiting.delete(name);
      try {
        // What is being written would come back behind the removal.
        if (current?.name === name) await abortable(current.done, signal);
        await store.remove(await keyOf(session.tenant, session.id), signal);
      } catch (error) {
        if (unwritten !== undefined && !waiting.has(name)) waiting.set(name, unwritten);
        start();
        throw error;
      }
    },
    async flush(signal) {
      for (let round = running; round !== null; round = running) await abortable(round, signal);
    },
    async close() {
      closing.abort();
      await running;
    },
  };
}

function nameOf({ tenant, id }: Session): string {
  return `${tenant}\0${id}`;
}
