import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const MAIN = `${ROOT}/dist/adapters/cli/main.js`;

interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let running: ChildProcess | undefined;
afterEach(() => {
  running?.kill('SIGKILL');
  running = undefined;
});

function start(args: readonly string[]): { child: ChildProcess; finished: Promise<Finished> } {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: ROOT });
  running = child;
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const finished = new Promise<Finished>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { child, finished };
}

/** Resolves with the base URL once a line is there: by default that it is ready. */
function ready(
  child: ChildProcess,
  line: RegExp = /Ready in .* on (http:[^\s,]+)/,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const url = line.exec(text)?.[1];
      if (url !== undefined) resolve(url);
    });
    child.on('close', (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
}

async function startSilentServer(): Promise<{ port: number; close(): Promise<unknown> }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket.on('error', () => undefined)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

describe('gemlet', () => {
  it.each([
    [['--help'], 0, 'gemlet serve'],
    [[], 0, 'gemlet serve'],
    [['serve', '--help'], 0, '--precision'],
    [['inspect', '--help'], 0, '--json'],
    [['inspect', 'infra/demo-model'], 0, 'int4 (AWQ), groups of 32'],
  ])('%j prints help or facts', async (args, code, text) => {
    const result = await start(args).finished;
    expect(result).toMatchObject({ code, stderr: '' });
    expect(result.stdout).toContain(text);
  });

  it.each([
    [['sevre'], 2, 'There is no command "sevre".'],
    [['serve', '--port', 'x'], 2, '--port must be a whole number'],
    [['serve', '--port=0', '--host=0.0.0.0'], 2, 'or say --allow-anyone'],
    [['serve', '--port=0', '--model', './nowhere'], 1, 'There is no model at ./nowhere'],
    [['serve', '--port=0', '--load=lazy', '--model', './nowhere'], 1, 'There is no model at'],
    [['serve', '--port=0', '--context', '5000'], 1, 'The context must be 2 to 4096 tokens'],
    [['serve', '--port=0', '--load=lazy', '--context=5000'], 1, 'The context must be 2 to 4096'],
    [['serve', '--port=0', '--ping', '/metrics'], 1, 'The ping path "/metrics" is taken'],
    [['serve', '--port=0', '--slots=256', '--context=4096', '--model=src'], 1, 'config.json'],
    [['inspect', 'src'], 1, 'config.json'],
  ])('%j is refused in one plain line', async (args, code, text) => {
    const result = await start(args).finished;
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(text);
    expect(result.stderr).not.toContain('    at ');
  });

  it('listens before it has loaded, and can be stopped then', async () => {
    // Takes connections and says nothing, so that the load goes on until it is stopped.
    const silent = await startSilentServer();
    try {
      const model = `https://127.0.0.1:${silent.port}/model`;
      const { child, finished } = start(['serve', '--port=0', '--ping=/ping', '--model', model]);
      const url = await ready(child, /listening on (http:[^\s,]+)/);
      const live = await fetch(`${url}/health/live`);
      expect(await live.json()).toMatchObject({ status: 'ok', state: 'loading' });
      expect((await fetch(`${url}/health/ready`)).status).toBe(503);
      expect((await fetch(`${url}/ping`)).status).toBe(204);
      child.kill('SIGTERM');
      // A connection that is being made keeps the process for some seconds more.
      child.stderr?.once('data', () => void silent.close());
      const { code, stderr } = await finished;
      expect([code, stderr]).toEqual([2, expect.stringContaining('Stopped while loading.')]);
    } finally {
      await silent.close();
    }
  });

  it('loads with the first request if told so', async () => {
    const { child, finished } = start(['serve', '--port=0', '--threads=2', '--load=lazy']);
    const url = await ready(child);
    const stateOf = async (): Promise<unknown> => (await fetch(`${url}/health/ready`)).json();
    expect(await stateOf()).toEqual({ status: 'ok', state: 'idle' });
    expect((await fetch(`${url}/v1/models`)).status).toBe(200);
    expect(await stateOf()).toMatchObject({ state: 'idle' });
    const ask = async (): Promise<number> => {
      const body = JSON.stringify({ prompt: 'a', max_tokens: 2, temperature: 0 });
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
      return (await fetch(`${url}/v1/completions`, init)).status;
    };
    expect(await Promise.all([ask(), ask()])).toEqual([200, 200]);
    expect(await stateOf()).toMatchObject({ state: 'ready' });
    child.kill('SIGTERM');
    const { code, stdout } = await finished;
    expect(code).toBe(0);
    expect(stdout).toContain('KV of global layers');
    expect(stdout.match(/Loading demo/g)).toHaveLength(1);
    expect(stdout.match(/Loaded in/g)).toHaveLength(1);
  });

  it('serves, asks for the key it was given, and drains on SIGTERM', async () => {
    const { child, finished } = start([
      'serve',
      '--port',
      '0',
      '--api-key',
      'secret',
      '--threads',
      '2',
    ]);
    const url = await ready(child);
    expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    expect((await fetch(`${url}/v1/models`)).status).toBe(401);
    const headers = { authorization: 'Bearer secret', 'content-type': 'application/json' };
    const streaming = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ prompt: 'a', max_tokens: 300, ignore_eos: true, stream: true }),
    });
    const reader = streaming.body?.getReader();
    await reader?.read();
    child.kill('SIGTERM');
    let text = '';
    for (;;) {
      const part = await reader?.read();
      if (part?.value === undefined) break;
      text += new TextDecoder().decode(part.value);
    }
    expect(text).toContain('[DONE]');
    const { code, stdout } = await finished;
    expect(code).toBe(0);
    expect(stdout).toContain('Memory');
    expect(stdout).not.toContain('secret');
  });
});
