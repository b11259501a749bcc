import type { Handler } from 'hono';
import type { CompleterState } from '../completer.ts';
import type { AppEnv, AppParts } from './app-env.ts';

/** The three questions orchestrators ask. */
export type Probe = 'startup' | 'ready' | 'live';

const PASSING: Readonly<Record<Probe, ReadonlySet<CompleterState>>> = {
  /** Has loading finished? */
  startup: new Set<CompleterState>(['ready', 'draining', 'closed']),
  /** Should traffic come here? */
  ready: new Set<CompleterState>(['ready']),
  /** Is the process worth keeping? Loading and draining are: a restart would only lose work. */
  live: new Set<CompleterState>(['loading', 'ready', 'draining']),
};

/** `GET /health/startup`, `/health/ready` and `/health/live`: 200 or 503, with the state. */
export function healthRoute(parts: AppParts, probe: Probe): Handler<AppEnv> {
  return function healthHandler(c) {
    const { state } = parts.completer;
    const passes = PASSING[probe].has(state);
    c.header('cache-control', 'no-store');
    return c.json({ status: passes ? 'ok' : 'unavailable', state }, passes ? 200 : 503);
  };
}
