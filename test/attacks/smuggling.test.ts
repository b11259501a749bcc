import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import { until } from '../support/app-harness.ts';
import { sendRaw, statusesIn } from '../support/raw-http.ts';
import { createStubCompleter } from '../support/stub-completer.ts';
import { countTries } from '../support/tries.ts';

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n';
const CHUNKED = 'transfer-encoding: chunked\r\n';
const END = '0\r\n\r\n';

/** Heads and bodies on whose end two servers in a row may disagree. */
const AMBIGUOUS: readonly (readonly [headers: string, body: string])[] = [
  [`content-length: 5\r\n${CHUNKED}`, END],
  [`${CHUNKED}content-length: 5\r\n`, END],
  [`content-length: 0\r\n${CHUNKED}`, END],
  ['content-length: 0\r\ncontent-length: 44\r\n', ''],
  ['content-length: 44\r\ncontent-length: 0\r\n', ''],
  ['content-length: 0, 44\r\n', ''],
  ['content-length: +0\r\n', ''],
  ['content-length: -0\r\n', ''],
  ['content-length: 0x0\r\n', ''],
  ['content-length: 0 0\r\n', ''],
  ['content-length : 0\r\n', ''],
  ['content-length: 99999999999999999999\r\n', ''],
  ['transfer-encoding: xchunked\r\n', END],
  ['transfer-encoding: chunked, identity\r\n', END],
  ['transfer-encoding: identity, chunked\r\n', `zz\r\n${END}`],
  ['transfer-encoding: chunked\r\ntransfer-encoding: x\r\n', END],
  ['transfer-encoding : chunked\r\n', END],
  [' transfer-encoding: chunked\r\n', END],
  ['x: y\r\n transfer-encoding: chunked\r\n', END],
  ['transfer-encoding:\x0bchunked\r\n', END],
  [CHUNKED, '-0\r\n\r\n'],
  [CHUNKED, '0x0\r\n\r\n'],
  [CHUNKED, 'ffffffffffffffff1\r\n'],
  [CHUNKED, '1\r\nab\r\n0\r\n\r\n'],
  [CHUNKED, '0\n\n'],
  ['x: a\0b\r\n', ''],
  ['x: a\nb: c\r\n', ''],
];

let seen: string[] = [];
let server: RunningServer;
const completer = createStubCompleter();

beforeAll(async () => {
  const app = createApp({ completer });
  const fetch = (request: Request): Response | Promise<Response> => {
    seen.push(new URL(request.url).pathname);
    return app.fetch(request);
  };
  server = await startServer({ app: { fetch }, port: 0 });
});
afterAll(() => server.close());

describe('a request whose end is a matter of opinion', () => {
  it('carries no second one past the first', async (context) => {
    const tries = countTries(context);
    for (const [headers, body] of AMBIGUOUS) {
      seen = [];
      const head = `POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n`;
      const answer = await sendRaw(server.port, `${head}${headers}\r\n${body}${SMUGGLED}`);
      const [status = 0] = statusesIn(answer);
      const isHeld = status >= 400 && status < 500 && !seen.includes('/smuggled');
      tries.note(`${JSON.stringify(headers + body)}: ${status}, ${seen.join()}`, isHeld);
    }
    tries.end();
  });
});

describe('floods', () => {
  it('of 2,000 requests on one connection are all answered', async (context) => {
    const tries = countTries(context);
    const head = 'GET /health/live HTTP/1.1\r\nhost: localhost\r\n';
    const text = `${`${head}\r\n`.repeat(1_999)}${head}connection: close\r\n\r\n`;
    const statuses = statusesIn(await sendRaw(server.port, text));
    const served = statuses.filter((status) => status === 200).length;
    tries.note(`${served} of ${statuses.length} were served`, served === 2_000);
    tries.end();
  });

  it('of 200 streams that are left at once leave nothing running', async (context) => {
    const tries = countTries(context);
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const gone = new AbortController();
        const response = await fetch(`${server.url}/v1/completions`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ prompt: 'x', stream: true }),
          signal: gone.signal,
        });
        gone.abort();
        tries.note(`${response.status}`, [200, 429, 503].includes(response.status));
        await response.body?.cancel().catch(() => undefined);
      }),
    );
    tries.end();
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200);
    await until(() => completer.activeCount === 0);
  });
});
