import type { Handler } from 'hono';
import type { ReplicaStatus } from '../fleet/affinity.ts';
import { REPLICA_HEADER } from '../fleet/pins.ts';
import { runSessionCall } from '../fleet/session-calls.ts';
import { sessionsOf } from '../sessions/lazy-sessions.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import { replicaGenerateRoutes } from './replica-generate.ts';
import { type ReplicaParts, requireSignedNothing, signedJson } from './replica-parts.ts';
import type { Route } from './route-table.ts';

/** `/replica/v1/...`: what gateways that share a fleet key ask; all of it signed, none by API key. */
export function replicaRoutes(parts: AppParts, replica: ReplicaParts): readonly Route[] {
  const { completer } = parts;
  const { access, id } = replica;
  const { generate, cancel } = replicaGenerateRoutes(parts, replica);

  const status: Handler<AppEnv> = async (c) => {
    await requireSignedNothing(c, replica);
    const stats = completer.stats?.();
    const { state } = completer;
    const body: ReplicaStatus = {
      replica: id,
      state,
      fingerprint: state === 'ready' ? (await access.model(c.req.raw.signal)).fingerprint : null,
      running: stats?.running ?? 0,
      waiting: stats?.waiting ?? 0,
      slots: stats?.rowCount ?? 0,
      progress: completer.progress?.() ?? null,
    };
    return c.json(body);
  };
  const model: Handler<AppEnv> = async (c) => {
    await requireSignedNothing(c, replica);
    return c.json(await access.model(c.req.raw.signal));
  };
  const vocabulary: Handler<AppEnv> = async (c) => {
    await requireSignedNothing(c, replica);
    const bytes = await access.vocabulary(c.req.raw.signal);
    return c.body(new Uint8Array(bytes), 200, { 'content-type': 'application/octet-stream' });
  };
  const sessions: Handler<AppEnv> = async (c) => {
    const call = await signedJson(c, replica);
    return c.json(await runSessionCall(sessionsOf(completer), call, c.req.raw.signal));
  };

  /** Says which replica it was, on errors too. */
  const named =
    (handler: Handler<AppEnv>): Handler<AppEnv> =>
    (c, next) => {
      c.header(REPLICA_HEADER, id);
      c.header('cache-control', 'no-store');
      return handler(c, next);
    };
  return [
    { method: 'POST', path: '/replica/v1/generate', handler: named(generate) },
    { method: 'POST', path: '/replica/v1/cancel', handler: named(cancel) },
    { method: 'GET', path: '/replica/v1/status', handler: named(status) },
    { method: 'GET', path: '/replica/v1/model', handler: named(model) },
    { method: 'GET', path: '/replica/v1/vocabulary', handler: named(vocabulary) },
    { method: 'POST', path: '/replica/v1/sessions', handler: named(sessions) },
  ];
}
