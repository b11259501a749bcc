import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/** An HTTP server on 127.0.0.1 that remembers who called. */
export interface LoopbackServer {
  readonly port: number;
  /** `METHOD path` of every request so far. */
  readonly requests: string[];
  /** Connections opened so far, with or without a request on them. */
  readonly connectionCount: () => number;
  /** Resolves when no answer is under way: each was sent in full or its connection dropped. */
  readonly idle: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** @param tls key and certificate in PEM; makes it an https server */
export async function startLoopbackServer(
  listener: RequestListener,
  tls?: { readonly key: string; readonly cert: string },
): Promise<LoopbackServer> {
  const requests: string[] = [];
  const open = new Set<Socket>();
  const answering = new Set<unknown>();
  const waiting = new Set<() => void>();
  let connectionCount = 0;
  const listen: RequestListener = (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    response.on('error', () => undefined);
    answering.add(response);
    response.on('close', () => {
      answering.delete(response);
      if (answering.size === 0) for (const wake of waiting) wake();
    });
    listener(request, response);
  };
  const server: Server = tls === undefined ? createServer(listen) : createTlsServer(tls, listen);
  server.on('connection', (socket: Socket) => {
    connectionCount += 1;
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    connectionCount: () => connectionCount,
    idle: async () => {
      if (answering.size > 0) await new Promise<void>((resolve) => waiting.add(resolve));
    },
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
