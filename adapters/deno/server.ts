import type { ClientInfo } from '../../src/http/app-env.ts';

/** What is used of Deno's HTTP server. */
interface DenoServer {
  readonly addr: { readonly hostname: string; readonly port: number };
  /** Stops listening and lets running answers finish. */
  shutdown(): Promise<void>;
}

declare const Deno: {
  serve(
    options: {
      readonly port: number;
      readonly hostname: string;
      readonly onListen: () => void;
    },
    handler: (
      request: Request,
      info: { readonly remoteAddr: { readonly hostname: string } },
    ) => Response | Promise<Response>,
  ): DenoServer;
};

export interface DenoServerOptions {
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

export interface RunningDenoServer {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string;
  readonly port: number;
  /**
   * Stops listening and lets running answers finish. Deno cannot cut the rest while it shuts down: what
   * hangs beyond the deadline ends with the process. Later calls share the first.
   */
  close(): Promise<void>;
}

const DRAIN_MS = 30_000;

/**
 * Serves a fetch app on Deno.
 * @throws Deno's own errors when the port is taken or may not be used
 */
export function startDenoServer(options: DenoServerOptions): RunningDenoServer {
  const { app, port, host = '127.0.0.1', drain, drainMs = DRAIN_MS } = options;
  const server = Deno.serve(
    { port, hostname: host, onListen: () => undefined },
    (request, { remoteAddr }) => app.fetch(request, { clientAddress: remoteAddr.hostname }),
  );
  let closing: Promise<void> | undefined;

  async function shutDown(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => {
      // A little later than the drain's own deadline, so that its in-band errors still go out.
      timer = setTimeout(resolve, drainMs + 1_000);
    });
    try {
      await Promise.race([Promise.all([server.shutdown(), drain?.(drainMs)]), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  const { hostname, port: bound } = server.addr;
  const name = hostname.includes(':') ? `[${hostname}]` : hostname;
  return {
    url: `http://${name}:${bound}`,
    port: bound,
    close: () => (closing ??= shutDown()),
  };
}
