import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createReplicaFetch } from '../../../adapters/node/replica-fetch.ts';

let handle: (request: IncomingMessage, response: ServerResponse) => void;
let server: Server;
let url: string;
let connections: number;

beforeEach(async () => {
  connections = 0;
  server = createServer((request, response) => handle(request, response));
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

async function echo(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  const { method, headers } = request;
  response.setHeader('set-cookie', ['a=1', 'b=2']);
  response.end(JSON.stringify({ method, headers, body: Buffer.concat(pieces).toString() }));
}

describe('the fetch of gateways', () => {
  it('sends bytes and blobs with their length, and keeps connections and every cookie', async () => {
    handle = (request, response) => void echo(request, response);
    const fetch = createReplicaFetch();
    const bodies = [new TextEncoder().encode('bytes'), new Blob(['in ', 'parts'])];
    for (const body of bodies) {
      const answer = await fetch(`${url}/x`, { method: 'POST', headers: { 'x-a': 'b' }, body });
      expect(answer.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
      const said = (await answer.json()) as { method: string; headers: object; body: string };
      expect(said).toMatchObject({ method: 'POST', headers: { 'x-a': 'b' } });
      expect(said.headers).toMatchObject({ 'content-length': String(said.body.length) });
    }
    const got = (await (await fetch(url, {})).json()) as { method: string; headers: object };
    expect(got.method).toBe('GET');
    expect(got.headers).not.toHaveProperty('content-length');
    expect(connections).toBe(1);
  });

  it('follows no redirect, and reads answers without a body', async () => {
    handle = (request, response) => {
      response.writeHead(request.url === '/302' ? 302 : 204, { location: '/elsewhere' }).end();
    };
    const fetch = createReplicaFetch();
    const moved = await fetch(`${url}/302`, { redirect: 'manual' });
    expect([moved.status, moved.headers.get('location')]).toEqual([302, '/elsewhere']);
    const empty = await fetch(url, {});
    expect([empty.status, empty.body]).toEqual([204, null]);
  });

  it('streams an answer, and closes its connection when the reader leaves', async () => {
    const left = new Promise<void>((resolve) => {
      handle = (_request, response) => {
        response.write('one');
        response.once('close', resolve);
      };
    });
    const response = await createReplicaFetch()(url, {});
    const reader = response.body?.getReader();
    expect(new TextDecoder().decode((await reader?.read())?.value)).toBe('one');
    await reader?.cancel();
    await left;
  });

  it('fails an answer that breaks off, and gives an abort its reason', async () => {
    handle = (_request, response) => {
      response.write('one', () => response.destroy());
    };
    const fetch = createReplicaFetch();
    await expect((await fetch(url, {})).text()).rejects.toThrow();
    handle = () => undefined;
    const abort = new AbortController();
    const pending = fetch(url, { signal: abort.signal });
    abort.abort(new Error('left'));
    await expect(pending).rejects.toThrow('left');
    await expect(fetch(url, { signal: abort.signal })).rejects.toThrow('left');
  });

  it('rejects as fetch does where nobody listens', async () => {
    const fetch = createReplicaFetch();
    await expect(fetch('http://127.0.0.1:1', {})).rejects.toMatchObject({
      message: 'fetch failed',
      cause: { code: 'ECONNREFUSED' },
    });
  });

  it('bounds connecting, and nothing after it', async () => {
    const connectMs = 50;
    const fetch = createReplicaFetch({ connectMs });
    // It accepts, and says not a word of TLS: the connection is never made.
    const sockets: Socket[] = [];
    const mute = createTcpServer(
      (socket) => void sockets.push(socket.on('error', () => undefined)),
    );
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = mute.address() as AddressInfo;
      await expect(fetch(`https://127.0.0.1:${port}`, {})).rejects.toMatchObject({
        cause: { message: 'there was no connection after 0.05 s' },
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => mute.close(resolve));
    }
    handle = (_request, response) => {
      setTimeout(() => response.end('late'), 3 * connectMs);
    };
    expect(await (await fetch(url, {})).text()).toBe('late');
    // A connection that is used again has been made.
    expect(await (await fetch(url, {})).text()).toBe('late');
    expect(connections).toBe(1);
  });
});
