import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SafeRequest } from '../../src/image/safe-fetch.ts';
import type { UrlPolicy } from '../../src/image/safe-url.ts';
import { startLoopbackServer, type LoopbackServer } from '../support/loopback-server.ts';

const never = new AbortController().signal;

async function readAll(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** What every {@link SafeRequest} must do; it gets a policy that allows the loopback address. */
export function describeSafeRequest(name: string, request: SafeRequest): void {
  describe(`${name} as a safe request`, () => {
    let server: LoopbackServer;
    let policy: UrlPolicy;
    let received: { headers: Record<string, unknown>; body: string };

    beforeAll(async () => {
      server = await startLoopbackServer((incoming, response) => {
        if (incoming.url === '/echo') {
          void (async () => {
            const body = await readAll(incoming);
            received = { headers: incoming.headers, body: body.toString() };
            response.setHeader('X-Thing', 'Value').end('hello');
          })();
        } else if (incoming.url === '/redirect') {
          response.writeHead(302, { location: '/echo' }).end('moved');
        } else {
          response.writeHead(200).write('first');
          const more = (): void => {
            while (response.write(Buffer.alloc(65_536)));
            response.once('drain', more);
          };
          if (incoming.url === '/endless') more();
        }
      });
      policy = {
        allowHttp: true,
        ports: [server.port],
        allowAddress: (address) => address === '127.0.0.1',
      };
    });
    afterAll(() => server.close());

    const at = (path: string): URL => new URL(`http://127.0.0.1:${server.port}${path}`);

    it('gives status, headers in any case, and the body', async () => {
      const headers = { accept: 'image/*', 'accept-encoding': 'identity', 'user-agent': 'test' };
      const response = await request(at('/echo'), { headers, policy, signal: never });
      expect(response.status).toBe(200);
      expect(response.header('x-thing')).toBe('Value');
      expect(response.header('x-other')).toBeNull();
      expect((await readAll(response.body)).toString()).toBe('hello');
      response.close();
      expect(received.headers).toMatchObject(headers);
      for (const header of ['cookie', 'authorization', 'referer', 'origin']) {
        expect(received.headers[header]).toBeUndefined();
      }
    });

    it('posts a body', async () => {
      const body = new Uint8Array(Buffer.from('{"a":1}'));
      const response = await request(at('/echo'), { headers: {}, body, policy, signal: never });
      await readAll(response.body);
      expect(received.body).toBe('{"a":1}');
      expect(server.requests.at(-1)).toBe('POST /echo');
    });

    it('does not follow a redirect', async () => {
      const count = server.requests.length;
      const response = await request(at('/redirect'), { headers: {}, policy, signal: never });
      expect([response.status, response.header('location')]).toEqual([302, '/echo']);
      response.close();
      expect(server.requests.slice(count)).toEqual(['GET /redirect']);
    });

    it('drops the connection when the reader leaves an endless body', async () => {
      const response = await request(at('/endless'), { headers: {}, policy, signal: never });
      for await (const chunk of response.body) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      response.close();
      await server.idle();
    });

    it('drops the connection when closed unread', async () => {
      const response = await request(at('/endless'), { headers: {}, policy, signal: never });
      response.close();
      await server.idle();
    });

    it('ends the body when the signal aborts in the middle of it', async () => {
      const controller = new AbortController();
      const { signal } = controller;
      const response = await request(at('/stuck'), { headers: {}, policy, signal });
      const reading = (async () => {
        for await (const chunk of response.body) {
          expect(Buffer.from(chunk).toString()).toBe('first');
          controller.abort(new Error('gone'));
        }
      })();
      await expect(reading).rejects.toThrow();
      await server.idle();
    });

    it('rejects when the signal is aborted already or the server is gone', async () => {
      const gone = AbortSignal.abort(new Error('gone'));
      await expect(request(at('/echo'), { headers: {}, policy, signal: gone })).rejects.toThrow();
      const closed = await startLoopbackServer(() => undefined);
      await closed.close();
      const url = new URL(`http://127.0.0.1:${closed.port}/`);
      await expect(
        request(url, { headers: {}, policy: { ...policy, ports: [closed.port] }, signal: never }),
      ).rejects.toThrow();
    });
  });
}
