import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../../dist/adapters/cli/main.js', import.meta.url));
const KEY = 'a key that nobody may read';
const CANARY = 'zanzibar-canary';

let running: Program | undefined;
afterEach(() => {
  running?.child.kill('SIGKILL');
  running = undefined;
});

interface Program {
  readonly child: ChildProcess;
  readonly url: string;
  /** Resolves with the first record that passes. */
  readonly record: (passes: (record: LogLine) => boolean) => Promise<LogLine>;
  readonly text: () => string;
}

type LogLine = Readonly<Record<string, unknown>>;

/** Starts the command line, whose first words name its address. */
async function start(...args: readonly string[]): Promise<Program> {
  const child = spawn(process.execPath, [MAIN, args[0] ?? '', '--port=0', ...args.slice(1)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  const waiting = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
    for (const look of waiting) look();
  });
  function until<T>(find: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const found = find();
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      child.once('close', () => reject(new Error(`it ended: ${text}`)));
      waiting.add(look);
      look();
    });
  }
  const program = {
    child,
    text: () => text,
    record: (passes: (record: LogLine) => boolean) =>
      until(() =>
        text
          .split('\n')
          .slice(0, -1)
          .flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as LogLine] : []))
          .find(passes),
      ),
  };
  running = { ...program, url: '' };
  const url = await until(() => /(?:Ready in .*|gateway) on (http:\/\/[^\s,]+)/.exec(text)?.[1]);
  running = { ...program, url };
  return running;
}

function post(url: string, body: object | string, headers: Record<string, string> = {}) {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

async function closedPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

const ASK = { messages: [{ role: 'user', content: `Tell me of ${CANARY}` }], max_tokens: 2 };

it('a served request and a refused one are each one line of JSON among the words for people', async () => {
  const { url, record, text } = await start('serve', '--threads=1');
  await (await post(url, ASK, { 'x-request-id': 'good' })).text();
  await (await post(url, `{"${CANARY}`, { 'x-request-id': 'bad' })).text();
  await (await fetch(`${url}/health/ready`)).text();
  await (await fetch(`${url}/v1/models`)).text();
  expect(await record((line) => line['request_id'] === 'good')).toMatchObject({
    level: 'info',
    route: '/v1/chat/completions',
    status: 200,
    completion_tokens: 2,
  });
  expect(await record((line) => line['request_id'] === 'bad')).toMatchObject({
    status: 400,
    error: { message: 'The request body is not valid JSON.' },
  });
  await record((line) => line['route'] === '/v1/models');
  expect(text()).not.toContain(CANARY);
  expect(text()).not.toContain('/health');
});

it('a gateway says why it cannot reach its replica, whose answers cannot come', async () => {
  const replica = `http://127.0.0.1:${await closedPort()}`;
  const { url, record } = await start(
    'gateway',
    '--hold=1',
    `--replica=${replica}`,
    '--fleet-key',
    KEY,
  );
  const response = await post(url, ASK, { 'x-request-id': 'lost' });
  expect(response.status).toBe(503);
  expect(await record((line) => line['event'] === 'failure')).toMatchObject({
    level: 'warn',
    what: 'a replica cannot be used',
    url: replica,
    error: { message: 'fetch failed', cause: { code: 'ECONNREFUSED' } },
  });
  expect(await record((line) => line['request_id'] === 'lost')).toMatchObject({
    level: 'warn',
    status: 503,
    error_code: 'model_loading',
  });
});

it('a gateway says why it cannot reach the server behind it', async () => {
  const upstream = `http://127.0.0.1:${await closedPort()}`;
  const { url, record } = await start('gateway', '--hold=1', `--upstream=${upstream}`);
  expect((await post(url, ASK)).status).toBe(503);
  expect(await record((line) => line['event'] === 'failure')).toMatchObject({
    what: 'the server behind is not there',
    error: { cause: { cause: { code: 'ECONNREFUSED' } } },
  });
});

it('a server whose log nobody reads any more goes on', async () => {
  const { child, url } = await start('serve', '--threads=1');
  child.stdout?.destroy();
  for (let count = 0; count < 5; count++) expect((await post(url, ASK)).status).toBe(200);
  expect(child.exitCode).toBeNull();
  child.kill('SIGTERM');
  expect(await once(child, 'close')).toEqual([0, null]);
});

it('says nothing when the log is off, and speaks to people when asked to', async () => {
  const off = await start('serve', '--threads=1', '--log=off');
  await (await post(off.url, ASK, { 'x-request-id': 'unseen' })).text();
  off.child.kill('SIGTERM');
  await once(off.child, 'close');
  expect(off.text()).not.toContain('unseen');
  const pretty = await start('serve', '--threads=1', '--log=pretty');
  await (await post(pretty.url, ASK, { 'x-request-id': 'seen' })).text();
  pretty.child.kill('SIGTERM');
  await once(pretty.child, 'close');
  expect(pretty.text()).toMatch(/info {2}POST \/v1\/chat\/completions 200, \d+ ms, .*, seen\n/);
});
