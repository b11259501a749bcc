import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEMO_CASES } from '../support/demo-cases.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const README = readFileSync(join(root, 'README.md'), 'utf8');
/** The first commands of README: start, and ask in another terminal. */
const [start = '', ask = ''] = [...README.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, code = '']) =>
  code.trim(),
);
/** The caption of the reference implementation for the picture that README sends. */
const CAPTION = DEMO_CASES.find(({ text }) => text.includes('bell pepper'));

/**
 * What README's first command does on a machine that reaches the npm registry and nothing else: an empty
 * folder, npm's default settings, install scripts run. The registry is needed; without it this fails.
 */
describe('gemlet from npm', () => {
  let folder: string;
  let archive: string;
  let server: ChildProcess | null = null;
  let printed = '';
  let url = '';

  beforeAll(async () => {
    if (!existsSync(join(root, 'dist/adapters/cli/main.js'))) {
      throw new Error('dist is not built: run `npm run build` first');
    }
    folder = mkdtempSync(join(tmpdir(), 'gemlet-npm-'));
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], {
      cwd: root,
      env: environment(folder),
    });
    archive = readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';
  });

  afterAll(() => {
    if (server?.pid !== undefined) process.kill(-server.pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });

  it('answers after the first command of README', async () => {
    expect(start).toBe('npm install gemlet && npx gemlet serve');
    const command = start.replace('install gemlet', `install ../${archive}`);
    const project = join(folder, 'project');
    mkdirSync(project);
    const child = spawn('bash', ['-c', `${command} --port 0`], {
      cwd: project,
      env: environment(folder),
      detached: true,
    });
    server = child;
    await new Promise<void>((resolve, reject) => {
      const take = (chunk: Buffer): void => {
        printed += chunk.toString();
        if (/Ready in .*\n/.test(printed)) resolve();
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.on('close', (code) => {
        server = null;
        reject(new Error(`It ended with ${code}; is the npm registry within reach?\n${printed}`));
      });
    });
    url = /listening on (http:\S+),/.exec(printed)?.[1] ?? '';
    const isInstalled = existsSync(join(project, 'node_modules/onnxruntime-node'));
    expect(printed.includes('ONNX Runtime 1.30.0 is kept in')).toBe(!isInstalled);
  }, 300_000);

  it('captions the picture of README, as its next command asks', async () => {
    const command = ask.replaceAll('http://127.0.0.1:8787', url);
    const { stdout } = await run('bash', ['-c', command], { cwd: join(folder, 'project') });
    expect(textOf(stdout)).toContain('bell pepper');
    expect(stdout).toContain('[DONE]');
  });

  it("gives the reference implementation's caption to the letter", async () => {
    const command = ask
      .replaceAll('http://127.0.0.1:8787', url)
      .replace('Describe this image.', 'Describe this image in detail.');
    expect(JSON.stringify(CAPTION?.messages)).toContain('Describe this image in detail.');
    const { stdout } = await run('bash', ['-c', command], { cwd: join(folder, 'project') });
    expect(textOf(stdout)).toBe(CAPTION?.text);
  });

  it('runs the commands of README that stop by themselves', async () => {
    const cwd = join(folder, 'project');
    const commands = [...README.matchAll(/^npx gemlet inspect .*demo-model$/gm)].map(
      ([line]) => line,
    );
    expect(commands).toHaveLength(1);
    for (const command of commands) {
      const { stdout } = await run('bash', ['-c', command], { cwd, env: environment(folder) });
      expect(stdout).toContain('gemma3');
    }
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      readonly version: string;
    };
    const said = await run('npx', ['gemlet', '--version'], { cwd, env: environment(folder) });
    expect(said.stdout.trim()).toBe(version);
  });

  it('stops when it is told to', async () => {
    const child = server;
    if (child?.pid === undefined) throw new Error('it was not started');
    const closed = new Promise((resolve) => child.once('close', resolve));
    process.kill(-child.pid, 'SIGTERM');
    await closed;
    expect(printed).toContain('Stopping:');
  });
});

/**
 * What a person's shell has. The npm that runs the tests passes its settings on, `ignore-scripts` among
 * them. onnxruntime-node's install script reaches nothing, as where only the registry is reached.
 */
function environment(folder: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_(?!config_(registry|cache|cafile|userconfig)$)|GEMLET_|INIT_CWD)/i.test(name),
  );
  return {
    ...Object.fromEntries(own),
    GLOBAL_AGENT_HTTPS_PROXY: 'http://127.0.0.1:9',
    GEMLET_CACHE_DIR: join(folder, 'cache'),
  };
}

/** The text of a stream of chunks. */
function textOf(stream: string): string {
  return [...stream.matchAll(/"content":"([^"]*)"/g)].map(([, text]) => text).join('');
}
