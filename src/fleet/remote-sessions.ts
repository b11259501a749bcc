import { ServeError } from '../errors.ts';
import { boundedText } from '../lib/bounded-body.ts';
import type {
  SessionControl,
  SessionCursor,
  SessionPage,
  SessionReport,
} from '../sessions/session.ts';
import type { Affinity, Target } from './affinity.ts';
import { failedAnswer } from './fleet-error.ts';
import type { FleetLink } from './fleet-link.ts';
import type { SessionCall } from './session-calls.ts';
import { sessionName } from './session-name.ts';
import type { SessionTable } from './session-table.ts';

export interface RemoteSessionsOptions {
  readonly affinity: Affinity;
  readonly link: FleetLink;
  readonly sessions: SessionTable;
  /** The fleet's newest key. */
  readonly key: string;
}

interface Found {
  readonly target: Target;
  readonly report: SessionReport;
}

const PAGE = 1_000;
/** A page of sessions with 16 KB of metadata each. */
const MAX_ANSWER_BYTES = 32 * 2 ** 20;

/**
 * The sessions of a fleet: each replica keeps those it answered, so all are asked. A conversation that
 * moved is on several; the one it was on last counts. Behind a balancer only one replica can be asked.
 */
export function createRemoteSessions(options: RemoteSessionsOptions): SessionControl {
  const { affinity, link, sessions, key } = options;

  async function call<T>(target: Target, body: SessionCall, signal?: AbortSignal): Promise<T> {
    const bytes = new TextEncoder().encode(JSON.stringify(body));
    const both = signal ?? new AbortController().signal;
    const response = await link.send(target, 'POST', '/replica/v1/sessions', bytes, both);
    const text = await boundedText(response, MAX_ANSWER_BYTES);
    if (!response.ok) throw failedAnswer(response.status, text).reason;
    const { result } = JSON.parse(text) as { readonly result: T };
    return result;
  }

  /** Asks all; fails only when nobody answers. */
  async function askAll(
    body: SessionCall,
    signal?: AbortSignal,
  ): Promise<readonly { readonly target: Target; readonly result: unknown }[]> {
    const targets = affinity.targets();
    const settled = await Promise.allSettled(
      targets.map(async (target) => ({ target, result: await call(target, body, signal) })),
    );
    signal?.throwIfAborted();
    const answers = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const failed = settled.find((one) => one.status === 'rejected');
    if (answers.length > 0 || failed === undefined) return answers;
    if (ServeError.is(failed.reason)) throw failed.reason;
    throw new ServeError('upstream_unavailable', 'No replica can be asked. Retry.', {
      cause: failed.reason,
    });
  }

  async function find(tenant: string, id: string, signal?: AbortSignal): Promise<Found | null> {
    const answers = await askAll({ op: 'get', tenant, id }, signal);
    const found = answers.flatMap(({ target, result }) =>
      result === null ? [] : [{ target, report: result as SessionReport }],
    );
    return found.toSorted((a, b) => b.report.usedMs - a.report.usedMs)[0] ?? null;
  }

  async function listAll(
    target: Target,
    tenant: string,
    signal?: AbortSignal,
  ): Promise<SessionReport[]> {
    const all: SessionReport[] = [];
    for (let after: string | null = null; ;) {
      const page: SessionPage = await call(
        target,
        { op: 'list', tenant, limit: PAGE, after },
        signal,
      );
      all.push(...page.sessions);
      after = page.sessions.at(-1)?.id ?? null;
      if (!page.hasMore || after === null) return all;
    }
  }

  async function list(
    tenant: string,
    { limit, after }: SessionCursor,
    signal?: AbortSignal,
  ): Promise<SessionPage> {
    const latest = new Map<string, SessionReport>();
    const lists = affinity.targets().map((target) => listAll(target, tenant, signal));
    for (const session of (await Promise.all(lists)).flat()) {
      const known = latest.get(session.id);
      if (known === undefined || known.usedMs < session.usedMs) latest.set(session.id, session);
    }
    const sorted = Array.from(latest.values()).toSorted(
      (a, b) => b.createdMs - a.createdMs || (a.id < b.id ? -1 : 1),
    );
    const last = after === null ? -1 : sorted.findIndex(({ id }) => id === after);
    if (after !== null && last < 0) {
      throw new ServeError('invalid_request', 'after names no session of yours.', {
        param: 'after',
      });
    }
    const page = sorted.slice(last + 1, last + 1 + limit);
    return { sessions: page, hasMore: sorted.length > last + 1 + limit };
  }

  return {
    list,
    get: async (tenant, id, signal) => (await find(tenant, id, signal))?.report ?? null,
    async put(tenant, id, change, signal) {
      const found = await find(tenant, id, signal);
      if (found === null) return null;
      return call(found.target, { op: 'put', tenant, id, change }, signal);
    },
    async fork(tenant, id, newId, signal) {
      const found = await find(tenant, id, signal);
      if (found === null) return null;
      const fork = await call<SessionReport | null>(
        found.target,
        { op: 'fork', tenant, id, newId },
        signal,
      );
      if (fork !== null) {
        // Its pages are where its parent's are.
        const pin = await sessions.pin(await sessionName(key, tenant, id), signal);
        await sessions.keep(await sessionName(key, tenant, fork.id), pin);
      }
      return fork;
    },
    async remove(tenant, id, signal) {
      const answers = await askAll({ op: 'remove', tenant, id }, signal);
      await sessions.keep(await sessionName(key, tenant, id), null);
      return answers.some(({ result }) => result === true);
    },
  };
}
