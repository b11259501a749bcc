import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** llama.cpp v0.5.0, built by node-llama-cpp; the bench knows the structs of this release. */
const PACKAGE = '@node-llama-cpp/linux-x64';
const VERSION = '3.22.1';

/** Where llama.cpp's shared libraries are, once installed. */
export function libraryFolder(folder: string): string {
  return join(folder, 'node_modules', PACKAGE, 'bins/linux-x64');
}

/** Whether {@link ensureLlamaTool} would return at once. */
export function hasLlamaTool(folder: string): boolean {
  const path = join(folder, 'node_modules', PACKAGE, 'package.json');
  if (!existsSync(path)) return false;
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version === VERSION;
}

/**
 * Installs llama.cpp into `folder` unless it is there. It is not among the package's own
 * dependencies: only the comparison needs it.
 * @throws Error that says what to do when it cannot be had
 */
export function ensureLlamaTool(folder: string, log: (line: string) => void): void {
  if (hasLlamaTool(folder)) return;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(
      `the comparison with llama.cpp runs on linux x64, this is ${process.platform} ${process.arch}; use --only gemlet`,
    );
  }
  mkdirSync(folder, { recursive: true });
  const args = ['install', '--prefix', folder, '--ignore-scripts', '--omit=optional'];
  args.push('--no-save', '--no-audit', '--no-fund', `${PACKAGE}@${VERSION}`);
  log(`installing llama.cpp: npm ${args.join(' ')}`);
  const result = spawnSync('npm', args, { encoding: 'utf8' });
  if (result.status !== 0 || !hasLlamaTool(folder)) {
    const reason = (result.error?.message ?? `${result.stdout}${result.stderr}`).trim();
    throw new Error(
      `llama.cpp could not be installed: ${reason}\nRun that command where npm's registry can be reached, or measure without it: --only gemlet`,
    );
  }
}
