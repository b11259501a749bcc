import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../../adapters/node/server.ts';

const STALL_MS = 200;
const CHUNK = new Uint8Array(64 * 1024);

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});

interface Endless {
  readonly server: RunningServer;
  /** Resolves when an answer was cut off. */
  readonly cut: Promise<void>;
}

/** Answers without end, as fast as they are taken. */
async function endless(): Promise<Endless> {
  let onCut: () => void = () => undefined;
  const cut = new Promise<void>((resolve) => {
    onCut = resolve;
  });
  const fetch = (): Response =>
    new Response(
      new ReadableStream<Uint8Array>({
        pull: (controller) => controller.enqueue(CHUNK),
        cancel: () => onCut(),
      }),
    );
  const server = await startServer({ app: { fetch }, port: 0, stallMs: STALL_MS, drainMs: 0 });
  open.push(server);
  return { server, cut };
}

function ask({ port }: RunningServer): Socket {
  const socket = connect(port, '127.0.0.1');
  open.push({ close: () => socket.destroy() });
  socket.on('error', () => undefined);
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
  return socket;
}

describe('watch over clients that do not read', () => {
  it('cuts one that takes nothing, which ends its answer', async () => {
    const { server, cut } = await endless();
    const socket = ask(server);
    socket.pause();
    await cut;
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.resume();
    await closed;
  });

  it('leaves one alone that takes a little again and again', async () => {
    const { server, cut } = await endless();
    const socket = ask(server);
    let isCut = false;
    void cut.then(() => {
      isCut = true;
    });
    const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    // Longer than the time to stall in all, with something taken in each look.
    for (let turn = 0; turn < 20; turn++) {
      socket.resume();
      await wait(10);
      socket.pause();
      await wait(15);
    }
    expect(isCut).toBe(false);
    socket.destroy();
    await cut;
  });
});
