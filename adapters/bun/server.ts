import type { ClientInfo } from '../../src/http/app-env.ts';

/** What is used of Bun's HTTP server. */
interface BunServer {
  readonly port: number;
  /** Sets after how many silent seconds the connection of a request is cut; 0 is never. */
  timeout(request: Request, seconds: number): void;
  /** null once the connection is closed. */
  requestIP(request: Request): { readonly address: string } | null;
  /** Stops listening; `true` cuts what still runs. */
  stop(cut?: boolean): Promise<void>;
}

declare const Bun: {
  serve(options: {
    readonly port: number;
    readonly hostname: string;
    /** Seconds, at most 255. */
    readonly idleTimeout: number;
    readonly fetch: (request: Request, server: BunServer) => Response | Promise<Response>;
  }): BunServer;
};

export interface BunServerOptions {
  /** Anything with a fetch handler, such as what createApp returns. */
  readonly app: {
    fetch(request: Request, client?: ClientInfo): Response | Promise<Response>;
  };
  /** 0 picks a free port. */
  readonly port: number;
  /** Address to listen on; the loopback address by default. */
  readonly host?: string;
  /** Called while closing: refuses new work and lets the rest finish, as `Completer.drain`. */
  readonly drain?: (deadlineMs: number) => Promise<void>;
  /** Milliseconds that running answers get to finish while closing; 30,000 by default. */
  readonly drainMs?: number;
}

export interface RunningBunServer {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string;
  readonly port: number;
  /** Stops listening, lets running answers finish, cuts what is left. Later calls share the first. */
  close(): Promise<void>;
}

/** Load balancers keep idle connections for 60 s; whoever closes first races with a request. */
const KEEP_ALIVE_SECONDS = 75;
const DRAIN_MS = 30_000;

/**
 * Serves a fetch app on Bun.
 * @throws Bun's own errors when the port is taken or may not be used
 */
export function startBunServer(options: BunServerOptions): RunningBunServer {
  const { app, port, host = '127.0.0.1', drain, drainMs = DRAIN_MS } = options;
  const server = Bun.serve({
    port,
    hostname: host,
    idleTimeout: KEEP_ALIVE_SECONDS,
    fetch(request, self) {
      // Bun counts a handler that works, and says nothing yet, as idle.
      self.timeout(request, 0);
      const client = self.requestIP(request);
      return app.fetch(request, client === null ? {} : { clientAddress: client.address });
    },
  });
  let closing: Promise<void> | undefined;

  async function shutDown(): Promise<void> {
    // A little later than the drain's own deadline, so that its in-band errors still go out.
    const timer = setTimeout(() => void server.stop(true), drainMs + 1_000);
    try {
      await Promise.all([server.stop(), drain?.(drainMs)]);
    } finally {
      clearTimeout(timer);
      await server.stop(true);
    }
  }

  const name = host.includes(':') ? `[${host}]` : host;
  return {
    url: `http://${name}:${server.port}`,
    port: server.port,
    close: () => (closing ??= shutDown()),
  };
}
