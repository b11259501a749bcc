import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import {
  createStubCompleter,
  type StubCompleter,
  type StubOptions,
} from '../support/stub-completer.ts';

const running: RunningServer[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close()));
});

async function serve(
  stub: StubOptions = {},
  options: {
    drainMs?: number;
    signal?: AbortSignal;
    maxBodyBytes?: number;
    maxConnections?: number;
  } = {},
): Promise<{ server: RunningServer; completer: StubCompleter }> {
  const completer = createStubCompleter(stub);
  const { maxBodyBytes, ...rest } = options;
  const app = createApp({
    completer,
    ...(maxBodyBytes === undefined ? {} : { limits: { maxBodyBytes } }),
  });
  const drain = (deadlineMs: number): Promise<void> => completer.drain(deadlineMs);
  const server = await startServer({ app, port: 0, drain, ...rest });
  running.push(server);
  return { server, completer };
}

function post(url: string, body: object, signal: AbortSignal | null = null): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'Hi' }], ...body }),
    signal,
  });
}

/** A gate that lets `free` tokens pass and then waits to be opened or aborted. */
function latch(free: number): { gate: NonNullable<StubOptions['gate']>; open: () => void } {
  let open: (() => void) | undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return {
    open: () => open?.(),
    gate: (at, signal) =>
      at < free
        ? Promise.resolve()
        : Promise.race([
            opened,
            new Promise<never>((_, reject) => {
              signal.addEventListener('abort', () => reject(signal.reason), { once: true });
            }),
          ]),
  };
}

describe('startServer', () => {
  it('serves on a free port and says where', async () => {
    const { server } = await serve();
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
    expect((await fetch(`${server.url}/health/ready`)).status).toBe(200);
  });

  it('says which port is taken and what to do', async () => {
    const { server } = await serve();
    const app = createApp({ completer: createStubCompleter() });
    await expect(startServer({ app, port: server.port })).rejects.toThrow(
      `Cannot listen on port ${server.port} of 127.0.0.1: it is in use`,
    );
  });

  it('leaves the standard Request and Response classes alone', async () => {
    const before = [globalThis.Request, globalThis.Response];
    await serve();
    expect([globalThis.Request, globalThis.Response]).toEqual(before);
  });

  it('aborts the completer when a client drops a stream', async () => {
    const { gate } = latch(2);
    const { server, completer } = await serve({ gate });
    const controller = new AbortController();
    const response = await post(server.url, { stream: true }, controller.signal);
    const reader = response.body?.getReader();
    await reader?.read();
    const aborted = completer.nextAbort();
    controller.abort();
    await aborted;
    expect(completer.activeCount).toBe(0);
  });

  it('aborts the completer when a client drops a request without stream', async () => {
    const { gate } = latch(-1);
    const { server, completer } = await serve({ gate });
    const controller = new AbortController();
    const response = post(server.url, {}, controller.signal);
    const aborted = completer.nextAbort();
    while (completer.activeCount === 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(response).rejects.toThrow();
    await aborted;
    expect(completer.activeCount).toBe(0);
  });

  it('sends stream events as they come', async () => {
    const { gate, open } = latch(1);
    const { server } = await serve({ gate });
    const response = await post(server.url, { stream: true });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (!text.includes('"content":"9"')) text += (await reader?.read())?.value ?? '';
    expect(text).not.toContain('[DONE]');
    open();
    for (let piece = await reader?.read(); piece?.done === false; piece = await reader?.read())
      text += piece.value;
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true);
  });

  it('lets running answers finish while it closes, and takes no new ones', async () => {
    const { gate, open } = latch(1);
    const { server, completer } = await serve({ gate });
    const response = await post(server.url, { stream: true });
    const closing = server.close();
    expect(completer.state).toBe('draining');
    await expect(fetch(`${server.url}/health/live`)).rejects.toThrow();
    open();
    expect((await response.text()).endsWith('data: [DONE]\n\n')).toBe(true);
    await closing;
    expect(server.close()).toBe(server.close());
  });

  it('cuts answers that do not finish in time', async () => {
    const { gate } = latch(1);
    const { server, completer } = await serve({ gate }, { drainMs: 0 });
    const response = await post(server.url, { stream: true });
    const aborted = completer.nextAbort();
    await Promise.all([server.close(), aborted, expect(response.text()).rejects.toThrow()]);
    expect(completer.activeCount).toBe(0);
  });

  it('closes connections beyond its bound at once, and serves those that it has', async () => {
    const { server } = await serve({}, { maxConnections: 1 });
    const first = connect(server.port, '127.0.0.1');
    await once(first, 'connect');
    const second = connect(server.port, '127.0.0.1');
    await once(second, 'close');
    first.write('GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n');
    const [answer] = (await once(first, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 200/);
    first.destroy();
  });

  it('does not wait for connections that never sent anything', async () => {
    const { server } = await serve();
    const socket = connect(server.port, '127.0.0.1');
    const gone = new Promise((resolve) => socket.once('close', resolve));
    await new Promise((resolve) => socket.once('connect', resolve));
    await fetch(`${server.url}/health/live`);
    await server.close();
    await gone;
  });

  it('closes when its signal aborts', async () => {
    const controller = new AbortController();
    const { server } = await serve({}, { signal: controller.signal });
    controller.abort();
    await server.close();
    await expect(fetch(server.url)).rejects.toThrow();
  });

  it('answers 413 to a client that never stops sending', async () => {
    const { server } = await serve({}, { maxBodyBytes: 100_000 });
    const status = await new Promise<number>((resolve, reject) => {
      const request = httpRequest(`${server.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
      });
      const send = (): void => {
        if (request.destroyed) return;
        request.write(Buffer.alloc(16_384, 0x20), (error) => {
          if (error === null || error === undefined) send();
        });
      };
      request.on('response', (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
        request.destroy();
      });
      request.on('error', reject);
      send();
    });
    expect(status).toBe(413);
  });

  it('answers requests it cannot read with an error object', async () => {
    const { server } = await serve();
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(server.port, '127.0.0.1', () => {
        socket.write('GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n');
      });
      let text = '';
      socket.setEncoding('utf8');
      socket.on('data', (piece) => (text += piece));
      socket.on('end', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer.startsWith('HTTP/1.1 400')).toBe(true);
    expect(answer).toContain('"code":"invalid_request"');
  });
});
