import type { FakeBackendOptions } from '../../adapters/fake/backend.ts';
import { type RunningServer, startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import type { LocalEngineOptions } from '../../src/engine/local-engine.ts';
import { createEdgeModelFiles } from './edge-model.ts';
import { createFakeEngineCompleter } from './fake-engine-completer.ts';
import {
  startLocalWorker,
  type LocalWorker,
  type LocalWorkerOptions,
} from '../../infra/local-worker.ts';

/** A replica on the loopback address: the real app and engine over the fake backend. */
export interface EdgeReplica {
  readonly url: string;
  readonly completer: Completer;
  /** Paths it was asked for, in order. */
  readonly asked: string[];
  close(): Promise<void>;
}

/** A Worker in workerd, in front of replicas. */
export interface EdgeFleet {
  readonly worker: LocalWorker;
  readonly replicas: readonly EdgeReplica[];
  close(): Promise<void>;
}

export interface EdgeFleetOptions extends LocalWorkerOptions {
  /** Default 1. */
  readonly replicaCount?: number;
  /** Default 512. */
  readonly contextTokens?: number;
  readonly engine?: Partial<LocalEngineOptions>;
  readonly backend?: FakeBackendOptions;
}

const BUNDLE = 'models/edge';
export const EDGE_KEY = 'the-key-of-a-client';
const FLEET_KEY = 'a key of the fleet for tests';

export async function startEdgeFleet(options: EdgeFleetOptions = {}): Promise<EdgeFleet> {
  const { contextTokens = 512, replicaCount = 1 } = options;
  const model = await createEdgeModelFiles(contextTokens);
  const replicas: EdgeReplica[] = [];
  for (let number = 0; number < replicaCount; number++) {
    const { completer } = createFakeEngineCompleter(
      options.engine,
      { ...options.backend, config: model.config },
      model.tokenizer,
    );
    replicas.push(await startReplica(completer));
  }
  const objects = Object.fromEntries(
    Object.entries(model.files).map(([name, bytes]) => [`${BUNDLE}/${name}`, bytes]),
  );
  const worker = await startLocalWorker({
    ...options,
    vars: {
      BUNDLE,
      MODEL_ID: 'google/gemma-edge',
      CONTEXT_TOKENS: String(contextTokens),
      REPLICAS: replicas.map(({ url }) => url).join(','),
      FLEET_KEYS: FLEET_KEY,
      API_KEYS: EDGE_KEY,
      ...options.vars,
    },
    objects: { ...objects, ...options.objects },
  });
  return {
    worker,
    replicas,
    async close() {
      await worker.close();
      await Promise.all(replicas.map((replica) => replica.close()));
    },
  };
}

async function startReplica(completer: Completer): Promise<EdgeReplica> {
  const app = createApp({ completer, fleetKeys: [FLEET_KEY] });
  const asked: string[] = [];
  const server: RunningServer = await startServer({
    app: {
      fetch(request) {
        asked.push(new URL(request.url).pathname);
        return app.fetch(request);
      },
    },
    port: 0,
    drainMs: 0,
  });
  return { url: server.url, completer, asked, close: () => server.close() };
}
