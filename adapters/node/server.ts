import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener, RequestError } from '@hono/node-server';
import { defaultOf } from '../../src/bounds.ts';
import { ServeError } from '../../src/errors.ts';
import type { ClientInfo } from '../../src/http/app-env.ts';
import { errorResponse } from '../../src/http/error-response.ts';
import type { FailureEvent } from '../../src/log/failure-record.ts';
import { watchStalls } from './stall-watch.ts';
import { toServeError } from '../../src/openai/error-body.ts';

export interface ServerOptions {
  /** Anything with a fetch handler, such as what createApp returns. */
  readonly app: {
    fetch(request: Request, client?: ClientInfo): Response | Promise<Response>;
  };
  /** 0 picks a free port. */
  readonly port: number;
  /** Address to listen on; the loopback address by default. */
  readonly host?: string;
  /** Closes the server when aborted. */
  readonly signal?: AbortSignal;
  /** Called while closing: refuses new work and lets the rest finish, as `Completer.drain`. */
  readonly drain?: (deadlineMs: number) => Promise<void>;
  /** Milliseconds that running answers get to finish while closing; 30,000 by default. */
  readonly drainMs?: number;
  /** Hears of requests that never reach the app; must not throw. */
  readonly onEvent?: (event: FailureEvent) => void;
  /** Milliseconds after which a client that takes nothing of its answer is cut off; 60,000 by default. */
  readonly stallMs?: number;
  /** Connections at once, 4,096 by default; more are closed before a byte is read. */
  readonly maxConnections?: number;
  /** Milliseconds that a request may take to arrive; 300,000 by default. Answers have no limit here. */
  readonly bodyTimeoutMs?: number;
}

export interface RunningServer {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string;
  readonly port: number;
  /** Stops listening, lets running answers finish, cuts what is left. Later calls share the first. */
  close(): Promise<void>;
}

/** Load balancers keep idle connections for 60 s; whoever closes first races with a request. */
const KEEP_ALIVE_MS = 75_000;
/** Time to send the headers. */
const HEADERS_MS = 30_000;
const DRAIN_MS = 30_000;
const STALL_MS = 60_000;

/**
 * Serves a fetch app over HTTP/1.1.
 * @throws Error when the port is taken or may not be used; the signal's reason on abort
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const { app, port, host = '127.0.0.1', signal } = options;
  signal?.throwIfAborted();
  const listener = getRequestListener(fetchOf(app), {
    // The process may host other code that relies on the standard classes.
    overrideGlobalObjects: false,
    errorHandler(error) {
      const response = unreadableRequest(error);
      const level = response.status < 500 ? 'info' : 'error';
      options.onEvent?.({ type: 'failure', what: 'a request did not reach the app', error, level });
      return response;
    },
  });
  let closing: Promise<void> | undefined;
  const server = createServer((incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (closing !== undefined) outgoing.setHeader('connection', 'close');
    outgoing.once('close', () => {
      // An answer that began before closing left its connection alive; nobody waits for more.
      if (closing !== undefined) setImmediate(() => server.closeIdleConnections());
    });
    void listener(incoming, outgoing);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const endWatch = watchStalls(sockets, options.stallMs ?? STALL_MS);
  server.once('close', endWatch);
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  const bodyTimeoutMs = options.bodyTimeoutMs ?? defaultOf('bodyTimeoutMs');
  server.headersTimeout = Math.min(HEADERS_MS, bodyTimeoutMs);
  server.requestTimeout = bodyTimeoutMs;
  server.maxConnections = options.maxConnections ?? defaultOf('maxConnections');
  await listen(server, port, host);

  const close = (): Promise<void> => {
    signal?.removeEventListener('abort', closeSilently);
    closing ??= shutDown(server, sockets, options);
    return closing;
  };
  const closeSilently = (): void => {
    close().catch(() => undefined); // whoever calls close() gets the failure
  };
  signal?.addEventListener('abort', closeSilently, { once: true });

  const address = server.address() as AddressInfo;
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return { url: `http://${name}:${address.port}`, port: address.port, close };
}

/** The app told of who calls. */
function fetchOf(app: ServerOptions['app']): Parameters<typeof getRequestListener>[0] {
  return (request, { incoming }) => {
    const address = 'socket' in incoming ? incoming.socket.remoteAddress : undefined;
    return app.fetch(request, address === undefined ? {} : { clientAddress: address });
  };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      reject(new Error(listenFailure(error, port, host), { cause: error }));
    };
    server.once('error', onError);
    server.listen({ port, host }, () => {
      server.off('error', onError);
      resolve();
    });
  });
}

function listenFailure(error: NodeJS.ErrnoException, port: number, host: string): string {
  const where = `port ${port} of ${host}`;
  switch (error.code) {
    case 'EADDRINUSE':
      return `Cannot listen on ${where}: it is in use. Stop what uses it or choose another port.`;
    case 'EACCES':
      return `Cannot listen on ${where}: not allowed. Choose a port above 1023.`;
    case 'EADDRNOTAVAIL':
      return `Cannot listen on ${where}: this machine does not have that address.`;
    default:
      return `Cannot listen on ${where}: ${error.message}`;
  }
}

async function shutDown(
  server: Server,
  sockets: ReadonlySet<Socket>,
  options: ServerOptions,
): Promise<void> {
  const { drain, drainMs = DRAIN_MS } = options;
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  // Node does not count connections opened in advance, which never sent a byte, as idle.
  for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
  // A little later than the drain's own deadline, so that its in-band errors still go out.
  const cut = setTimeout(() => server.closeAllConnections(), drainMs + 1_000);
  try {
    await Promise.all([closed, drain?.(drainMs)]);
  } finally {
    clearTimeout(cut);
    server.closeAllConnections();
  }
}

/** For requests that never reach the app: a malformed Host header or URL. */
function unreadableRequest(error: unknown): Response {
  if (!(error instanceof RequestError)) return errorResponse(toServeError(error));
  const message = `The request cannot be read: ${error.message}.`;
  return errorResponse(new ServeError('invalid_request', message));
}
