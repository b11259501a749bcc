import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A proxy on 127.0.0.1 that cuts connections on which nothing passes for a while, as many do. */
export interface SilenceProxy {
  readonly url: string;
  /** Pieces of answers that have passed. */
  readonly pieceCount: () => number;
  /** Connections that were cut. */
  readonly cutCount: () => number;
  readonly close: () => Promise<void>;
}

export async function startSilenceProxy(
  targetPort: number,
  silenceMs: number,
): Promise<SilenceProxy> {
  const open = new Set<Socket>();
  let pieces = 0;
  let cuts = 0;
  const keep = (socket: Socket): Socket => {
    open.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => open.delete(socket));
    return socket;
  };
  const server = createServer((client) => {
    const target = keep(connect(targetPort, '127.0.0.1'));
    keep(client).pipe(target);
    target.on('data', () => pieces++);
    target.pipe(client);
    target.setTimeout(silenceMs, () => {
      cuts++;
      client.destroy();
      target.destroy();
    });
    client.once('close', () => target.destroy());
    target.once('close', () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pieceCount: () => pieces,
    cutCount: () => cuts,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
