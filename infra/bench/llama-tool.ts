import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The newest when this bench was written; it uses internals, so change it with care. */
const VERSION = '3.22.1';
const PACKAGES = [`node-llama-cpp@${VERSION}`, `@node-llama-cpp/linux-x64@${VERSION}`];

/** Whether {@link ensureLlamaTool} would return at once. */
export function hasLlamaTool(folder: string): boolean {
  return ['node-llama-cpp', '@node-llama-cpp/linux-x64'].every((name) => {
    const path = join(folder, 'node_modules', name, 'package.json');
    if (!existsSync(path)) return false;
    return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version === VERSION;
  });
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
  args.push('--no-save', '--no-audit', '--no-fund', ...PACKAGES);
  log(`installing llama.cpp: npm ${args.join(' ')}`);
  const result = spawnSync('npm', args, { encoding: 'utf8' });
  if (result.status !== 0 || !hasLlamaTool(folder)) {
    const reason = (result.error?.message ?? `${result.stdout}${result.stderr}`).trim();
    throw new Error(
      `llama.cpp could not be installed: ${reason}\nRun that command where npm's registry can be reached, or measure without it: --only gemlet`,
    );
  }
}
