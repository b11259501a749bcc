import { setMaxListeners } from 'node:events';
import { startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import type { Completer } from '../../src/completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createFakeEngineCompleter } from './fake-engine-completer.ts';
import { FLEET_KEYS } from './fleet-harness.ts';

/** A replica that listens on the loopback address and can end in two ways. */
export interface ChaosReplica {
  readonly url: string;
  readonly completer: Completer;
  /** Cuts every connection where it is, as a killed process does. */
  kill(): Promise<void>;
  /** As on SIGTERM: answers get `deadlineMs` to finish, those that do not are handed over. */
  drain(deadlineMs: number): Promise<void>;
}

/** Starts one; every second step takes a moment, so that answers are under way when it ends. */
export async function startChaosReplica(): Promise<ChaosReplica> {
  const { completer } = createFakeEngineCompleter(
    { clock: systemClock, kvBudgetBytes: 256 * 1024 * 1024, pageTokens: 4 },
    { beforeForward: () => new Promise((resolve) => setImmediate(resolve)) },
  );
  const app = createApp({ completer, fleetKeys: FLEET_KEYS });
  const dead = new AbortController();
  setMaxListeners(0, dead.signal);
  const server = await startServer({
    port: 0,
    app: {
      async fetch(request) {
        if (dead.signal.aborted) return new Response(broken());
        const response = await app.fetch(request);
        if (response.body === null) return response;
        return new Response(response.body.pipeThrough(cutBy(dead.signal)), response);
      },
    },
    drain: (deadlineMs) => completer.drain(deadlineMs),
    drainMs: 0,
  });
  return {
    url: server.url,
    completer,
    async kill() {
      dead.abort(new Error('killed'));
      await server.close();
      await completer.close();
    },
    async drain(deadlineMs) {
      await completer.drain(deadlineMs);
      await server.close();
      await completer.close();
    },
  };
}

function broken(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.error(new Error('killed')) });
}

/** Passes bytes on until its server dies, and then breaks off. */
function cutBy(signal: AbortSignal): TransformStream<Uint8Array, Uint8Array> {
  return new TransformStream({
    start(controller) {
      signal.addEventListener('abort', () => controller.error(signal.reason), { once: true });
    },
  });
}
