import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import { FLEET_KEYS } from '../support/fleet-harness.ts';
import { createFakeEngineCompleter, FAKE_CARD } from '../support/fake-engine-completer.ts';
import { sendRaw, statusesIn } from '../support/raw-http.ts';
import { countTries } from '../support/tries.ts';
import { KEY, ODD_HOSTS, ODD_PATHS, WRONG_KEYS } from '../support/wrong-keys.ts';

const METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'QUERY',
  'PROPFIND',
  'get',
];
/** Open to all, on purpose; whatever else is added must ask for a key. */
const OPEN = ['/health', '/health/live', '/health/ready', '/v1/health', '/ping'];
/** No key, a wrong one, a host that is not ours, or too many tries. */
const REFUSALS = [401, 403, 421, 429];
const ORIGINS = [
  'null',
  'https://evil.example',
  'https://web.example.evil.example',
  'https://sub.web.example',
  'https://web.example:8443',
  'http://web.example',
  'https://evil.example/https://web.example',
];

const { completer } = createFakeEngineCompleter();
/** A new one for each test: refusing for a while whoever guesses is another matter. */
const guarded = (): ReturnType<typeof createApp> =>
  createApp({
    completer,
    apiKeys: [KEY],
    fleetKeys: FLEET_KEYS,
    cors: { origins: ['https://web.example'] },
  });
const routes = [
  ...new Set(
    guarded()
      .routes.map(({ path }) => path)
      .filter((path) => !path.includes('*'))
      .map((path) => path.replace(/:id(\{.*?\})?/, 'x')),
  ),
];

function isRefused(status: number): boolean {
  return REFUSALS.includes(status);
}

describe('without a key', () => {
  it('no route answers by any method', async (context) => {
    const tries = countTries(context);
    expect(routes.length).toBeGreaterThan(20);
    const app = guarded();
    for (const path of routes.filter((each) => !OPEN.includes(each))) {
      for (const method of METHODS) {
        const body = ['GET', 'HEAD', 'get'].includes(method) ? null : '{}';
        const headers = { 'content-type': 'application/json' };
        const response = await app.request(path, { method, headers, body });
        const { status } = response;
        // Calls of gateways are signed, and other methods there say so.
        const isWire = path.startsWith('/replica/') && status === 405;
        // Browsers ask without a key what they may send; that says nothing.
        const isEmpty = status === 204 && (await response.text()) === '';
        const isHeld = isRefused(status) || isWire || (method === 'OPTIONS' && isEmpty);
        tries.note(`${method} ${path}: ${status}`, isHeld);
      }
    }
    tries.end();
  });

  it('no form of it opens, nor a header that proxies know', async (context) => {
    const tries = countTries(context);
    const app = guarded();
    for (const headers of WRONG_KEYS) {
      for (const query of ['', `?api_key=${KEY}&key=${KEY}&access_token=${KEY}`]) {
        const { status } = await app.request(`/v1/models${query}`, { headers });
        tries.note(`${JSON.stringify(headers).slice(0, 80)}${query}: ${status}`, isRefused(status));
      }
    }
    tries.end();
    const headers = { authorization: `Bearer ${KEY}` };
    expect((await guarded().request('/v1/models', { headers })).status).toBe(200);
  });

  it('pages of other origins learn nothing, not even by asking first', async (context) => {
    const tries = countTries(context);
    for (const origin of ORIGINS) {
      for (const method of ['GET', 'OPTIONS']) {
        const headers = { origin, 'access-control-request-method': 'POST' };
        const answer = await guarded().request('/v1/models', { method, headers });
        const isHeld =
          !answer.headers.has('access-control-allow-origin') &&
          !answer.headers.has('access-control-allow-credentials');
        tries.note(`${method} of ${origin}`, isHeld);
      }
    }
    tries.end();
  });
});

describe('without a key, by bytes on a socket', () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer({ app: { fetch: (request) => guarded().fetch(request) }, port: 0 });
  });
  afterAll(() => server.close());

  it('no spelling of a path opens', async (context) => {
    const tries = countTries(context);
    for (const path of ODD_PATHS) {
      const answer = await sendRaw(
        server.port,
        `GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n`,
      );
      const [status = 0] = statusesIn(answer);
      const isProbe = status === 200 && answer.includes('"status"');
      const isHeld = !answer.includes(FAKE_CARD.id) && (isProbe || status >= 400);
      tries.note(`${path}: ${status}`, isHeld);
    }
    tries.end();
  });

  it('no Host opens', async (context) => {
    const tries = countTries(context);
    for (const host of ODD_HOSTS) {
      const text = `GET /v1/models HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`;
      const [status = 0] = statusesIn(await sendRaw(server.port, text));
      tries.note(`${host}: ${status}`, isRefused(status) || status === 400);
    }
    tries.end();
  });

  it('a second header with the right one changes nothing', async (context) => {
    const tries = countTries(context);
    for (const name of ['authorization', 'Authorization', 'AUTHORIZATION']) {
      const lines = `authorization: Bearer wrong\r\n${name}: Bearer ${KEY}\r\n`;
      const text = `GET /v1/models HTTP/1.1\r\nhost: a\r\n${lines}connection: close\r\n\r\n`;
      const [status = 0] = statusesIn(await sendRaw(server.port, text));
      tries.note(`${name}: ${status}`, isRefused(status) || status === 400);
    }
    tries.end();
  });
});
