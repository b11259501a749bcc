import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { FakeBackend, FakeBackendOptions } from '../../adapters/fake/backend.ts';
import { createNodeImageDecoder } from '../../adapters/node/image-decoder.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import type { LocalEngineOptions } from '../../src/engine/local-engine.ts';
import type { FleetModel } from '../../src/fleet/describe-model.ts';
import {
  createRemoteCompleter,
  type RemoteCompleterOptions,
} from '../../src/fleet/remote-completer.ts';
import { parseImageConfig } from '../../src/image/image-config.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createByteTokenizer } from './byte-tokenizer.ts';
import { createFakeEngineCompleter, FAKE_CARD } from './fake-engine-completer.ts';
import type { Affinity, ReplicaStatus } from '../../src/fleet/affinity.ts';
import type { SessionTable } from '../../src/fleet/session-table.ts';

export const FLEET_KEYS: readonly string[] = ['a key of the fleet, for tests'];

/** What a replica says of itself a quarter into its load. */
export const LOADING_STATUS: ReplicaStatus = {
  replica: 'r',
  state: 'loading',
  fingerprint: null,
  running: 0,
  waiting: 0,
  slots: 0,
  progress: {
    phase: 'downloading',
    loadedBytes: 25,
    totalBytes: 100,
    bytesPerSecond: 10,
    etaMs: 7_500,
    startedMs: 0,
  },
};

/** One replica in this process, which can die. */
export interface TestReplica {
  readonly url: string;
  readonly completer: Completer;
  readonly backend: FakeBackend;
  /** Paths it was asked for, in order. */
  readonly asked: string[];
  /** Bytes of the bodies it was sent. */
  sentBytes: number;
  /** Breaks all connections and takes no more. */
  kill(): void;
}

export interface TestFleet {
  readonly replicas: readonly TestReplica[];
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
}

/** Replicas by host name, `http://r0`, `http://r1` and so on: real apps and engines over fakes. */
export function createTestFleet(
  count: number,
  engine: Partial<LocalEngineOptions> = {},
  backend: FakeBackendOptions = {},
  keys: readonly string[] = FLEET_KEYS,
): TestFleet {
  const replicas = Array.from({ length: count }, (_, index) =>
    createTestReplica(`http://r${index}`, engine, backend, keys),
  );
  return {
    replicas: replicas.map(({ replica }) => replica),
    async fetch(url, init) {
      const found = replicas.find(({ replica }) => url.startsWith(`${replica.url}/`));
      if (found === undefined) throw new TypeError('fetch failed: no such host');
      return found.fetch(url, init);
    },
  };
}

function createTestReplica(
  url: string,
  engine: Partial<LocalEngineOptions>,
  backendOptions: FakeBackendOptions,
  keys: readonly string[],
): {
  readonly replica: TestReplica;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
} {
  const { completer, backend } = createFakeEngineCompleter(engine, backendOptions);
  const app = createApp({ completer, fleetKeys: keys });
  const dead = new AbortController();
  const asked: string[] = [];
  const replica: TestReplica = {
    url,
    completer,
    backend,
    asked,
    sentBytes: 0,
    kill: () => dead.abort(new TypeError('connection reset')),
  };
  return {
    replica,
    async fetch(target, init) {
      if (dead.signal.aborted) throw new TypeError('fetch failed');
      init.signal?.throwIfAborted();
      asked.push(new URL(target).pathname);
      const signals = init.signal === null || init.signal === undefined ? [] : [init.signal];
      const signal = AbortSignal.any([...signals, dead.signal]);
      const body = init.body === undefined ? null : await new Response(init.body).arrayBuffer();
      replica.sentBytes += body?.byteLength ?? 0;
      const headers = new Headers(init.headers);
      if (body !== null) headers.set('content-length', String(body.byteLength));
      const response = await app.fetch(new Request(target, { ...init, body, headers, signal }));
      if (response.body === null) return response;
      return new Response(cutWhenDead(response.body, signal), response);
    },
  };
}

/** Breaks a body off when its sender dies, without waiting for it. */
function cutWhenDead(
  body: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const died = new Promise<never>((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  died.catch(() => undefined);
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await Promise.race([reader.read(), died]);
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          controller.error(error);
          void reader.cancel(error).catch(() => undefined);
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** The description of the fake model, as a gateway has it. */
export function fakeFleetModel(contextTokens: number = FAKE_CARD.contextTokens): FleetModel {
  const config = fakeModelConfig({ maxPositions: contextTokens });
  if (config.vision === null) throw new RangeError('the fake model has no vision tower');
  return {
    card: { ...FAKE_CARD, contextTokens },
    config,
    image: parseImageConfig({}, config.vision),
    fingerprint: 'the fake',
    tokenizer: createByteTokenizer(),
  };
}

export function createTestGateway(
  fleet: Pick<TestFleet, 'fetch'>,
  affinity: Affinity,
  sessions: SessionTable,
  options: Partial<RemoteCompleterOptions> = {},
): Completer {
  return createRemoteCompleter({
    affinity,
    sessions,
    keys: FLEET_KEYS,
    clock: systemClock,
    prepare: prepareWith(createNodeImageDecoder()),
    fetchUrl: null,
    fetch: fleet.fetch,
    describe: async () => fakeFleetModel(),
    ...options,
  });
}

/** Goes to the first replica that did not fail yet, and counts. */
export function firstReplica(urls: readonly string[]): Affinity & { readonly went: string[] } {
  const went: string[] = [];
  return {
    went,
    apply({ avoid, pin }) {
      const left = urls.filter((url) => !avoid.has(url));
      const url = (pin !== null && left.includes(pin) ? pin : left[0]) ?? urls[0] ?? '';
      went.push(url);
      return { url, headers: {}, replica: url, done: () => undefined };
    },
    learn: () => went.at(-1) ?? null,
    lost: () => 'no',
    targets: () => urls.map((url) => ({ url, headers: {} })),
  };
}

/** Keeps pins in a map and serialises nothing. */
export function plainTable(): SessionTable & { readonly pins: Map<string, string> } {
  const pins = new Map<string, string>();
  const keep = async (session: string, pin: string | null): Promise<void> => {
    if (pin === null) pins.delete(session);
    else pins.set(session, pin);
  };
  return {
    pins,
    pin: async (session) => pins.get(session) ?? null,
    keep,
    begin: async (session) => ({
      pin: pins.get(session) ?? null,
      release: (pin) => keep(session, pin),
    }),
  };
}
