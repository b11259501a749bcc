import type { Socket } from 'node:net';

/** Looks this often in the time that a reader is given. */
const LOOKS = 4;

/**
 * Cuts connections whose other end takes nothing of what is there for it. Connections with nothing to send
 * are left alone: an answer may take its time.
 * @param stallMs milliseconds; Infinity watches nothing
 * @returns ends the watch
 */
export function watchStalls(sockets: ReadonlySet<Socket>, stallMs: number): () => void {
  if (!Number.isFinite(stallMs)) return () => undefined;
  const since = new WeakMap<Socket, { readonly sentBytes: number; looks: number }>();

  function look(): void {
    for (const socket of sockets) {
      if (socket.writableLength === 0) {
        since.delete(socket);
        continue;
      }
      const sentBytes = socket.bytesWritten - socket.writableLength;
      const before = since.get(socket);
      if (before === undefined || before.sentBytes !== sentBytes) {
        since.set(socket, { sentBytes, looks: 1 });
      } else if (++before.looks > LOOKS) {
        socket.destroy();
      }
    }
  }

  const timer = setInterval(look, stallMs / LOOKS);
  timer.unref();
  return () => clearInterval(timer);
}
