import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseServeOptions } from '../adapters/cli/options.ts';
import { runScript } from './support/run-script.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const README = readFileSync(`${ROOT}/README.md`, 'utf8');
const run = promisify(execFile);

interface Block {
  readonly language: string;
  readonly code: string;
  /** Marked as needing what a test cannot have. */
  readonly needsDownload: boolean;
}

const blocks: readonly Block[] = [
  ...README.matchAll(/(<!-- needs a download -->\n)?```(sh|ts)\n([\s\S]*?)```/g),
].map(([, mark, language = '', code = '']) => ({
  language,
  code,
  needsDownload: mark !== undefined,
}));
const shell = blocks.filter(({ language }) => language === 'sh');
const scripts = blocks.filter(({ language }) => language === 'ts');

/** Commands that only set up what the test run already has; the first runs in test/package. */
const SETUP = ['npm install gemlet && npx gemlet serve', 'npm install && npm test'];

/** Commands that serve until they are stopped; their options are read here, their work elsewhere. */
const SERVES = /^npx gemlet serve --port/;

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('README', () => {
  let port: number;
  let server: ChildProcess;
  let started = '';

  beforeAll(async () => {
    port = await freePort();
    server = spawn('npm', ['start'], {
      cwd: ROOT,
      detached: true,
      env: { ...process.env, PORT: String(port) },
    });
    await new Promise<void>((resolve, reject) => {
      server.stdout?.on('data', (chunk: Buffer) => {
        started += chunk.toString();
        if (started.includes('Try it:')) resolve();
      });
      server.on('close', (code) => reject(new Error(`npm start ended with ${code}: ${started}`)));
    });
  });
  afterAll(() => {
    if (server.pid !== undefined) process.kill(-server.pid, 'SIGKILL');
  });

  /** With this test's port, and the paths of a clone. */
  const here = (code: string): string =>
    code.replaceAll('127.0.0.1:8787', `127.0.0.1:${port}`).replaceAll('node_modules/gemlet/', '');

  it('starts the demo model with a memory table and a curl that works', async () => {
    expect(started).toContain('KV of global layers');
    const curl = started.slice(started.indexOf('curl'));
    const { stdout } = await run('bash', ['-c', curl], { cwd: ROOT });
    expect(stdout).toContain('[DONE]');
    expect(textOf(stdout)).toContain('bell pepper');
  });

  it('names only shell commands that are run here, are set-up, or need a download', () => {
    const names = shell
      .filter(({ needsDownload }) => !needsDownload)
      .map(({ code }) => code.trim());
    expect(names.filter((name) => SETUP.includes(name))).toEqual(SETUP);
    expect(shell.filter(({ needsDownload }) => needsDownload)).toHaveLength(1);
  });

  it.each(
    shell
      .filter(({ code, needsDownload }) => !needsDownload && !SETUP.includes(code.trim()))
      .filter(({ code }) => !SERVES.test(code))
      .map(({ code }) => code.trim()),
  )('runs %s', async (code) => {
    const command = here(code).replaceAll('npx gemlet', 'node dist/adapters/cli/main.js');
    const { stdout } = await run('bash', ['-c', command], { cwd: ROOT });
    expect(code.startsWith('curl') ? textOf(stdout) : stdout).toMatch(
      /bell pepper|architecture|gcloud run services/,
    );
  });

  it('gives only options that exist where a download is needed', () => {
    for (const { code } of shell.filter(({ needsDownload }) => needsDownload)) {
      for (const line of code.trim().split('\n')) {
        const [, , command, ...args] = line.split(' ');
        expect(command).toBe('serve');
        expect(parseServeOptions(args, {}).engine.model).toBeTruthy();
      }
    }
  });

  it('starts a gateway and its replicas as it says', async () => {
    const code = shell.find((block) => SERVES.test(block.code))?.code ?? '';
    const first = await freePort();
    const ports = [first, await freePort(), await freePort()];
    const command = code
      .replaceAll('8801', String(ports[0]))
      .replaceAll('8802', String(ports[1]))
      .replaceAll('npx gemlet gateway', `node dist/adapters/cli/main.js gateway --port ${ports[2]}`)
      .replaceAll('npx gemlet', 'node dist/adapters/cli/main.js');
    const child = spawn('bash', ['-c', command], { cwd: ROOT, detached: true });
    try {
      let printed = '';
      await new Promise<void>((resolve, reject) => {
        child.stdout.on('data', (chunk: Buffer) => {
          printed += chunk.toString();
          if (printed.includes('gateway on') && printed.split('Ready in').length === 3) resolve();
        });
        child.on('close', (exit) => reject(new Error(`ended with ${exit}: ${printed}`)));
      });
      const answer = await fetch(`http://127.0.0.1:${ports[2]}/v1/models`);
      expect(await answer.text()).toContain('gemlet-demo');
    } finally {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    }
  });

  it.each(scripts.map(({ code }) => code))('runs the script\n%s', async (code) => {
    const output = await runScript(here(code));
    expect(output.trim()).not.toBe('');
    if (code.includes('example.png')) expect(output).toContain('bell pepper');
    if (code.includes('/v1/models')) expect(output).toContain('gemlet-demo');
  });
});

/** The text of a stream of chunks. */
function textOf(stream: string): string {
  return [...stream.matchAll(/"content":"([^"]*)"/g)].map(([, text]) => text).join('');
}
