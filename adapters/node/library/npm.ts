import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A program and the arguments before npm's own. */
export type NpmCommand = readonly [program: string, ...first: string[]];

/**
 * The user's npm: the one that started this process, else the one beside Node.js, else the one on PATH.
 * As a script for Node.js where possible, because Windows starts `npm.cmd` only through a shell.
 */
export function findNpm(): NpmCommand {
  const parent = process.env['npm_execpath'];
  const here = dirname(process.execPath);
  const script = [
    // pnpm and yarn set the same variable.
    ...(parent !== undefined && basename(parent) === 'npm-cli.js' ? [parent] : []),
    join(here, 'node_modules/npm/bin/npm-cli.js'),
    join(here, '../lib/node_modules/npm/bin/npm-cli.js'),
  ].find((path) => existsSync(path));
  return script === undefined ? ['npm'] : [process.execPath, script];
}

/**
 * Writes a package's archive into a folder that is the caller's to remove, from npm's cache where it lies
 * there. Runs no script of the package. npm rather than a request of ours, because it knows the user's
 * registry, keys and proxies.
 * @throws Error with npm's own words; the signal's reason on abort
 */
export async function packWithNpm(
  npm: NpmCommand,
  specifier: string,
  folder: string,
  signal?: AbortSignal,
): Promise<void> {
  const [program, ...first] = npm;
  const args = [...first, 'pack', specifier, '--ignore-scripts', '--pack-destination', folder];
  try {
    await run(program, [...args, '--offline'], { signal });
    return;
  } catch {
    signal?.throwIfAborted();
  }
  try {
    // The user's cache may be where nothing can be written, and needs no copy of what is kept elsewhere.
    await run(program, [...args, '--cache', join(folder, 'npm')], { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw new Error(wordsOf(error), { cause: error });
  }
}

/** What npm complained of, without prefixes, stacks and the path of its log; in one line. */
function wordsOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return 'npm is not installed';
  }
  const printed = error instanceof Error && 'stderr' in error ? String(error.stderr) : '';
  const lines = printed
    .split('\n')
    .map((line) => /^npm (?:error|ERR!) (.*)$/.exec(line)?.[1]?.trim() ?? '')
    .filter((line) => line !== '' && !/^at |complete log/.test(line));
  return lines.join('; ').replace(/\.$/, '') || String(error);
}
