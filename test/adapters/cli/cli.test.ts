import { spawn, type ChildProcess } from 'node:child_process';
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

/** Resolves with the base URL once the ready line is there. */
function ready(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const url = /Ready in .* on (http:\S+)/.exec(text)?.[1];
      if (url !== undefined) resolve(url);
    });
    child.on('close', (code) => reject(new Error(`ended with ${code}: ${text}`)));
  });
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
    [['serve', '--model', './nowhere'], 1, 'There is no model at ./nowhere'],
    [['serve', '--context', '5000'], 1, 'The context must be 2 to 4096 tokens'],
    [['serve', '--slots', '256', '--context', '4096', '--model', 'src'], 1, 'config.json'],
    [['inspect', 'src'], 1, 'config.json'],
  ])('%j is refused in one plain line', async (args, code, text) => {
    const result = await start(args).finished;
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(text);
    expect(result.stderr).not.toContain('    at ');
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
