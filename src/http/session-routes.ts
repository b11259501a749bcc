import type { Context, Handler } from 'hono';
import { ServeError } from '../errors.ts';
import {
  parseSessionChange,
  parseSessionCursor,
  parseSessionFork,
} from '../openai/session-request.ts';
import { sessionBody, sessionListBody } from '../openai/session-response.ts';
import { sessionsOf } from '../sessions/lazy-sessions.ts';
import type { SessionControl } from '../sessions/session.ts';
import { type AppEnv, type AppParts, tenantOf } from './app-env.ts';
import { readSmallJson } from './body.ts';
import { createHold } from './cold.ts';
import type { Route } from './route-table.ts';

const PATH = '/v1/sessions/:id';

/** One request on the caller's sessions. */
interface SessionCall {
  readonly sessions: SessionControl;
  readonly tenant: string;
  /** '' on the list. */
  readonly id: string;
  readonly signal: AbortSignal;
}

/** `/v1/sessions` and what lies below it: only ever the caller's own. */
export function sessionRoutes(parts: AppParts): readonly Route[] {
  return [
    { method: 'GET', path: '/v1/sessions', handler: listRoute(parts) },
    { method: 'GET', path: PATH, handler: getRoute(parts) },
    { method: 'PUT', path: PATH, handler: putRoute(parts) },
    { method: 'DELETE', path: PATH, handler: deleteRoute(parts) },
    { method: 'POST', path: `${PATH}/fork`, handler: forkRoute(parts) },
  ];
}

/** Names the session of an answer when the client named it. */
export function echoSession(c: Context<AppEnv>, sessionId: string | null): void {
  if (sessionId !== null) c.header('x-session-id', sessionId);
}

function listRoute(parts: AppParts): Handler<AppEnv> {
  return async function listSessionsHandler(c) {
    const cursor = parseSessionCursor(c.req.query());
    const { sessions, tenant, signal } = await openCall(c, parts);
    return answer(c, sessionListBody(await sessions.list(tenant, cursor, signal)));
  };
}

function getRoute(parts: AppParts): Handler<AppEnv> {
  return async function sessionHandler(c) {
    const { sessions, tenant, id, signal } = await openCall(c, parts);
    return answer(c, sessionBody(found(await sessions.get(tenant, id, signal))));
  };
}

function putRoute(parts: AppParts): Handler<AppEnv> {
  return async function putSessionHandler(c) {
    const change = parseSessionChange(await readSmallJson(c, parts.limits));
    const { sessions, tenant, id, signal } = await openCall(c, parts);
    return answer(c, sessionBody(found(await sessions.put(tenant, id, change, signal))));
  };
}

function deleteRoute(parts: AppParts): Handler<AppEnv> {
  return async function deleteSessionHandler(c) {
    const { sessions, tenant, id, signal } = await openCall(c, parts);
    if (!(await sessions.remove(tenant, id, signal))) throw noSuchSession();
    return answer(c, { id, object: 'session', deleted: true });
  };
}

function forkRoute(parts: AppParts): Handler<AppEnv> {
  return async function forkSessionHandler(c) {
    const newId = parseSessionFork(await readSmallJson(c, parts.limits));
    const { sessions, tenant, id, signal } = await openCall(c, parts);
    return answer(c, sessionBody(found(await sessions.fork(tenant, id, newId, signal))));
  };
}

/** Waits for a model that loads: what it has of a session is part of the answer. */
async function openCall(c: Context<AppEnv>, parts: AppParts): Promise<SessionCall> {
  const { signal } = c.req.raw;
  const sessions = sessionsOf(parts.completer);
  await createHold(parts, signal).ready();
  return { sessions, tenant: tenantOf(c), id: c.req.param('id') ?? '', signal };
}

function answer(c: Context<AppEnv>, body: object): Response {
  c.header('cache-control', 'no-store');
  return c.json(body);
}

function found<T>(session: T | null): T {
  if (session === null) throw noSuchSession();
  return session;
}

function noSuchSession(): ServeError {
  return new ServeError(
    'not_found',
    'There is no such session of yours here; one begins with a request that names it, as x-session-id or prompt_cache_key.',
  );
}
