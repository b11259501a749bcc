import { fork } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describeMachine } from './machine.ts';

/**
 * Runs one part of a suite in a fresh process, so that no engine inherits the other's memory or
 * threads: `main.js` is started with `args`, and reports by message.
 */
export function runPart<T>(args: readonly string[]): Promise<T> {
  const entry = fileURLToPath(new URL('./main.js', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = fork(entry, [...args], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    let result: { readonly value: T } | null = null;
    child.once('error', reject);
    child.on('message', (message: { readonly value: T }) => {
      result = message;
    });
    child.once('close', (code, signal) => {
      if (result === null) reject(new Error(`bench part ended early (${signal ?? code})`));
      else resolve(result.value);
    });
  });
}

function leave(): void {
  process.exit(1);
}

/** Measures a part in the process that {@link runPart} started, and ends with the one that asked. */
export async function reportPart(measure: () => Promise<unknown>): Promise<void> {
  // One that nobody waits for would slow down whatever is measured next.
  process.once('disconnect', leave);
  const value = await measure();
  await new Promise<void>((resolve) => {
    process.send?.({ value }, () => resolve());
  });
  process.off('disconnect', leave);
}

/** Writes a suite's results beside the machine and command they were measured with. */
export function writeResults(suite: string, results: unknown): string {
  const startedAt = new Date().toISOString();
  mkdirSync('bench-results', { recursive: true });
  const path = join('bench-results', `${suite}-${startedAt.replaceAll(':', '-')}.json`);
  const command = `npm run bench -- ${process.argv.slice(2).join(' ')}`;
  const report = { suite, startedAt, command, machine: describeMachine(), results };
  writeFileSync(path, JSON.stringify(report, null, 2));
  return path;
}
