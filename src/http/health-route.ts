import type { Handler } from 'hono';
import type { Completer, CompleterState } from '../completer.ts';
import { serverState } from '../fleet/fleet-state.ts';
import type { LoadProgress } from '../load-progress.ts';
import type { AppEnv, AppParts } from './app-env.ts';

/** The three questions orchestrators ask. */
export type Probe = 'startup' | 'ready' | 'live';

const PASSING: Readonly<Record<Probe, ReadonlySet<CompleterState>>> = {
  /** Has loading finished? Idle is: it waits for a request to begin. */
  startup: new Set<CompleterState>(['idle', 'ready', 'draining', 'closed']),
  /** Should traffic come here? */
  ready: new Set<CompleterState>(['idle', 'ready']),
  /** Is the process worth keeping? Loading and draining are: a restart would only lose work. */
  live: new Set<CompleterState>(['idle', 'loading', 'ready', 'draining']),
};

/**
 * `GET /health/startup`, `/health/ready` and `/health/live`: 200 or 503, with the state of this server;
 * how far the load is while there is one, and of a gateway how its fleet is.
 */
export function healthRoute(parts: AppParts, probe: Probe): Handler<AppEnv> {
  return function healthHandler(c) {
    const { completer } = parts;
    const state = serverState(completer);
    const passes = PASSING[probe].has(state);
    const fleet = completer.fleet?.();
    c.header('cache-control', 'no-store');
    return c.json(
      {
        status: passes ? 'ok' : 'unavailable',
        state,
        ...(state === 'loading' ? progressOf(completer) : {}),
        ...(fleet === undefined ? {} : { fleet: { ...fleet, ...progressOf(completer) } }),
      },
      passes ? 200 : 503,
    );
  };
}

const PING_STATUS: Readonly<Record<CompleterState, 200 | 204 | 503>> = {
  idle: 200,
  loading: 204,
  ready: 200,
  draining: 503,
  closed: 503,
};

/** `GET /version`, as vLLM and Ollama answer it. */
export function versionRoute({ version }: AppParts): Handler<AppEnv> {
  return function versionHandler(c) {
    return c.json({ version });
  };
}

/** The one question of load balancers such as RunPod's: 200 serving, 204 loading, 503 going away. */
export function pingRoute(parts: AppParts): Handler<AppEnv> {
  return function pingHandler(c) {
    c.header('cache-control', 'no-store');
    return c.body(null, PING_STATUS[serverState(parts.completer)]);
  };
}

/** Only while the model loads: how it went is of no use to a probe. */
function progressOf(completer: Completer): object {
  const progress = completer.state === 'loading' ? (completer.progress?.() ?? null) : null;
  return progress === null ? {} : { progress: progressObject(progress) };
}

function progressObject(progress: LoadProgress): object {
  return {
    phase: progress.phase,
    loaded_bytes: progress.loadedBytes,
    total_bytes: progress.totalBytes,
    bytes_per_second: progress.bytesPerSecond,
    eta_ms: progress.etaMs,
  };
}
