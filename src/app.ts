import { Hono } from 'hono';
import { defaultOf } from './bounds.ts';
import type { Completer } from './completer.ts';
import type { AppEnv, AppParts, StreamTiming } from './http/app-env.ts';
import { chatRoute } from './http/chat-route.ts';
import type { ColdTiming } from './http/cold.ts';
import { completionsRoute } from './http/completions-route.ts';
import { METRICS_PATH } from './http/doors/auth.ts';
import { type DoorOptions, openDoors } from './http/doors/doors.ts';
import { abortedResponse, errorResponse } from './http/error-response.ts';
import { healthRoute, pingRoute, versionRoute } from './http/health-route.ts';
import { deleteJobRoute, jobRoute } from './http/job-routes.ts';
import { metricsRoute } from './http/metrics-route.ts';
import { modelRoute, modelsRoute } from './http/models-route.ts';
import { openApiRoute } from './http/openapi-route.ts';
import { type AppEvent, requestEvents } from './http/request-events.ts';
import { createReplicaParts, type ReplicaParts } from './http/replica-parts.ts';
import { replicaRoutes } from './http/replica-routes.ts';
import { requestId } from './http/request-id.ts';
import { addRoutes, type Route } from './http/route-table.ts';
import { sessionRoutes } from './http/session-routes.ts';
import { detokenizeRoute, tokenizeRoute } from './http/tokenize-route.ts';
import { createJobs, type JobLimits } from './jobs.ts';
import { createBodyBudget } from './limits/body-budget.ts';
import { type Clock, systemClock } from './lib/clock.ts';
import { createServingMetrics } from './metrics/serving-metrics.ts';
import { toServeError } from './openai/error-body.ts';
import {
  type AcceptedModels,
  DEFAULT_LIMITS,
  type RequestLimits,
} from './openai/request-context.ts';

export type { AcceptedModels, AppEnv, AppEvent, ColdTiming, RequestLimits, StreamTiming };

export interface AppOptions extends DoorOptions {
  /** What answers: our engine or another OpenAI-compatible server. */
  readonly completer: Completer;
  /** What clients may call the model beside its own name, which answers bear; left out, nothing. */
  readonly models?: Partial<AcceptedModels>;
  /** Of the program, for `/version` and fingerprints of answers. */
  readonly version?: string;
  /** Bounds on one request, on jobs and on the process; each has a default, see `BOUNDS`. */
  readonly limits?: Partial<AppLimits>;
  /** When streams commit (2 s) and how long they stay silent (15 s). */
  readonly stream?: Partial<StreamTiming>;
  /** How long answers that are no streams wait for a model that loads (30 s). */
  readonly cold?: Partial<ColdTiming>;
  /**
   * Path, such as `/ping`, that answers without a key 200 when requests are served, 204 while the model
   * loads and 503 when the server goes away, as RunPod's load balancer asks; left out, there is none.
   */
  readonly pingPath?: string;
  /**
   * Keys shared with gateways, which then find this server under `/replica/v1`; the first one is the
   * newest. Left out, there are no such routes.
   */
  readonly fleetKeys?: readonly string[];
  readonly clock?: Clock;
  /** Seeds for requests without one, 0..2^32-1; from the runtime's secure source by default. */
  readonly randomSeed?: () => number;
  /** Structured events for logs and traces. */
  readonly onEvent?: (event: AppEvent) => void;
  /** Counts nothing and has no `/metrics`. */
  readonly metrics?: false;
}

/** Bounds on what callers cost. */
export interface AppLimits extends RequestLimits, JobLimits {
  /** Bytes of the bodies of all requests under way; one API key gets at most half. */
  readonly maxBodiesBytes: number;
  /** Milliseconds that one answer may take, waiting included; a job's begins when it is run. */
  readonly requestTimeoutMs: number;
}

const STREAM_TIMING: StreamTiming = { graceMs: 2_000, heartbeatMs: 15_000 };
const COLD_TIMING: ColdTiming = { holdMs: 30_000 };
/** vLLM, SGLang, TGI and llama.cpp have them. */
const READY_PATHS = ['/health', '/v1/health', '/ping'];

/**
 * Creates the HTTP API as a Hono app; its `fetch` runs on any runtime.
 * @throws TypeError for empty API keys; RangeError for a ping path that cannot be one
 * @example
 * const app = createApp({ completer, apiKeys: ['secret'] });
 * const response = await app.request('/v1/models');
 */
export function createApp(options: AppOptions): Hono<AppEnv> {
  const { completer } = options;
  const clock = options.clock ?? systemClock;
  const bodies = createBodyBudget(options.limits?.maxBodiesBytes ?? defaultOf('maxBodiesBytes'));
  const metrics = options.metrics === false ? null : createServingMetrics(completer, bodies);
  const parts: AppParts = {
    completer,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    clock,
    randomSeed: options.randomSeed ?? secureSeed,
    models: { aliases: [], acceptsAny: false, ...options.models },
    version: options.version ?? '',
    stream: { ...STREAM_TIMING, ...options.stream },
    cold: { ...COLD_TIMING, ...options.cold },
    jobs: createJobs({ ...options.limits, clock }),
    requestTimeoutMs: options.limits?.requestTimeoutMs ?? defaultOf('requestTimeoutMs'),
  };

  const routes: Route[] = [
    { method: 'POST', path: '/v1/chat/completions', handler: chatRoute(parts) },
    { method: 'POST', path: '/v1/completions', handler: completionsRoute(parts) },
    { method: 'GET', path: '/v1/models', handler: modelsRoute(parts) },
    { method: 'GET', path: '/v1/models/:id{.+}', handler: modelRoute(parts) },
    { method: 'GET', path: '/v1/jobs/:id', handler: jobRoute(parts) },
    { method: 'DELETE', path: '/v1/jobs/:id', handler: deleteJobRoute(parts) },
    ...sessionRoutes(parts),
    { method: 'POST', path: '/tokenize', handler: tokenizeRoute(parts) },
    { method: 'POST', path: '/detokenize', handler: detokenizeRoute(parts) },
    { method: 'GET', path: '/health/startup', handler: healthRoute(parts, 'startup') },
    { method: 'GET', path: '/health/ready', handler: healthRoute(parts, 'ready') },
    { method: 'GET', path: '/health/live', handler: healthRoute(parts, 'live') },
    { method: 'GET', path: '/openapi.json', handler: openApiRoute(parts) },
    { method: 'GET', path: '/version', handler: versionRoute(parts) },
  ];
  if (metrics !== null) {
    routes.push({ method: 'GET', path: METRICS_PATH, handler: metricsRoute(metrics) });
  }
  const openPaths = new Set(['/health/live', '/health/ready']);
  // Names by which clients and orchestrators of other servers ask the same.
  for (const path of READY_PATHS.filter((known) => known !== options.pingPath)) {
    routes.push({ method: 'GET', path, handler: healthRoute(parts, 'ready') });
    openPaths.add(path);
  }
  const probePaths = new Set([...openPaths, '/health/startup', METRICS_PATH, '/replica/v1/status']);
  if (options.fleetKeys !== undefined) {
    // Signed, and so of no use to whoever has no key.
    for (const route of replicaRoutes(parts, replicaParts(completer, options.fleetKeys, clock))) {
      routes.push(route);
      openPaths.add(route.path);
    }
  }
  if (options.pingPath !== undefined) {
    const path = checkPingPath(options.pingPath, routes);
    openPaths.add(path);
    probePaths.add(path);
    routes.push({ method: 'GET', path, handler: pingRoute(parts) });
  }

  const app = new Hono<AppEnv>();
  app.use(requestId());
  const { onEvent } = options;
  app.use(requestEvents({ clock, completer, metrics, onEvent, bodies, probePaths }));
  for (const door of openDoors(options, clock, metrics, openPaths)) app.use(door);
  addRoutes(app, routes);

  app.onError((error, c) => {
    if (c.req.raw.signal.aborted) return abortedResponse();
    return errorResponse(toServeError(error), { path: c.req.path });
  });
  return app;
}

/** A plain path of its own: it is open to all, which a pattern or another route must not be. */
function checkPingPath(path: string, routes: readonly Route[]): string {
  if (!/^(\/[\w.~-]+)+$/.test(path)) {
    throw new RangeError(`The ping path must be a plain path such as /ping, not "${path}".`);
  }
  const isTaken = path.startsWith('/v1/') || routes.some((route) => route.path === path);
  if (isTaken) throw new RangeError(`The ping path "${path}" is taken by another route.`);
  return path;
}

function replicaParts(completer: Completer, keys: readonly string[], clock: Clock): ReplicaParts {
  if (completer.replica !== undefined) return createReplicaParts(completer.replica, keys, clock);
  throw new TypeError('fleetKeys is for servers that compute themselves, which this one does not');
}

function secureSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}
