import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { createFleetStarts } from '../../src/fleet/fleet-watch.ts';
import { createRemoteCompleter } from '../../src/fleet/remote-completer.ts';
import { createEdgeRequest } from '../../src/image/edge-request.ts';
import { createSafeFetch, type SafeFetch } from '../../src/image/safe-fetch.ts';
import { DEFAULT_IMAGE_LIMITS } from '../../src/image/sniff.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createRequestLog, type RequestLog } from '../../src/log/request-log.ts';
import { affinityOf } from './affinity.ts';
import type { WorkerEnv } from './bindings.ts';
import { createDurableSessions } from './durable-sessions.ts';
import { createEdgeModel } from './edge-model.ts';
import { createWorkerImageDecoder } from './image-decoder.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import { createPendingWork, withPendingWork } from './pending-work.ts';
import { parseSettings, type WorkerSettings } from './settings.ts';

/** What the requests of one isolate share: only data, for the runtime binds I/O to its request. */
export interface Isolate {
  readonly settings: WorkerSettings;
  readonly log: RequestLog;
  /**
   * What serves one request or one batch of messages.
   * @param host under which the request came in, which pictures are not fetched from
   */
  open(host?: string): OpenGateway;
}

export interface OpenGateway {
  readonly completer: Completer;
  fetch(request: Request): Promise<Response>;
  /** Resolves when nothing runs any more: the event may end then, and not before. */
  settled(): Promise<void>;
}

/** Milliseconds for which a fleet that answered is taken to be up. */
const WARM_MS = 60_000;
const FETCH_MS = 10_000;
/** Of one request: isolates have 128 MB and six connections at once. */
const DOWNLOADS = { maxDownloads: 4, maxPerHost: 4, maxBytes: 24 * 2 ** 20 };

/** @throws ServeError backend_unavailable: the environment is not what it should be */
export function createIsolate(env: WorkerEnv): Isolate {
  const clock = systemClock;
  const settings = parseSettings(env);
  const log = logOf(settings);
  const affinity = affinityOf(settings, clock);
  const describe = createEdgeModel({ ...settings, bucket: env.MODELS, clock });
  const prepare = prepareWith(createWorkerImageDecoder(clock));
  function fetchFor(host: string | undefined): SafeFetch | null {
    const { imageUrls } = settings;
    if (imageUrls === null) return null;
    const { denyHosts = [] } = imageUrls;
    return createSafeFetch({
      ...imageUrls,
      denyHosts: host === undefined ? denyHosts : [...denyHosts, host],
      request: createEdgeRequest(),
      maxBytes: DEFAULT_IMAGE_LIMITS.maxBytes,
      timeoutMs: FETCH_MS,
    });
  }
  const starts = createFleetStarts(clock);
  let warmUntilMs = 0;

  return {
    settings,
    log,
    open(host) {
      const pending = createPendingWork();
      const isReady = clock.now() < warmUntilMs;
      const remote = createRemoteCompleter({
        affinity,
        sessions: createDurableSessions({
          namespace: env.SESSIONS,
          clock,
          idleMs: settings.sessionIdleMs,
          onError: (error) =>
            log({ type: 'failure', what: 'a session is out of reach', error, level: 'warn' }),
        }),
        keys: settings.fleetKeys,
        clock,
        prepare,
        downloads: DOWNLOADS,
        fetchUrl: fetchFor(host),
        maxDecodePixels: settings.maxDecodePixels,
        describe,
        fetch: (url, init) => pending.add(fetch(url, init)),
        isReady,
        onEvent: log,
        starts,
      });
      const completer = withPendingWork(remote, pending);
      const app = createApp({
        completer,
        // Without keys it is open on purpose, under whatever name it was given.
        ...(settings.apiKeys === null ? { allowedHosts: '*' } : { apiKeys: settings.apiKeys }),
        cors: { origins: settings.corsOrigins },
        limits: { maxBodyBytes: settings.maxBodyBytes },
        // Counts of one isolate of many tell nothing.
        metrics: false,
        onEvent: log,
      });
      return {
        completer,
        async fetch(request) {
          // Read before, and so at hand: without it the model counts as loading.
          if (isReady) await completer.describe?.(request.signal);
          return app.fetch(request);
        },
        async settled() {
          await pending.settled();
          if (completer.state === 'ready') warmUntilMs = clock.now() + WARM_MS;
          else if (completer.state === 'idle' && isReady) warmUntilMs = 0;
        },
      };
    },
  };
}

function logOf(settings: WorkerSettings): RequestLog {
  const { log: format, fleetKeys, apiKeys, replicaHeaders, webhookSecret } = settings;
  const headers = Object.values(replicaHeaders).flatMap((value) => [value, ...value.split(' ')]);
  const secrets = [...fleetKeys, ...(apiKeys ?? []), ...headers, webhookSecret ?? ''];
  return createRequestLog({ format, secrets, write: (line) => console.log(line) });
}
