import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Of Node.js, for children that shall end with this process whatever ends it; Linux only. */
export function endWithParentFlags(): readonly string[] {
  // The compiled name: beside the sources, in tests, there is none.
  const entry = new URL('./end-with-parent.js', import.meta.url);
  return existsSync(entry) ? ['--import', entry.href] : [];
}

/** Starts a compiled entry of this folder in a process of its own, with a channel for messages. */
export function startChild(entry: string, args: readonly string[]): ChildProcess {
  return fork(fileURLToPath(new URL(entry, import.meta.url)), [...args], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    execArgv: [...process.execArgv, ...endWithParentFlags()],
  });
}

/** What a child answers by message. */
export type ChildAnswer<T> = { readonly value: T } | { readonly error: string };

/**
 * Runs an entry in a fresh process, so that no engine inherits the other's memory or threads.
 * @param what it does, for the error
 * @param request its first message, when it wants one
 */
export function runInChild<T>(
  what: string,
  entry: string,
  args: readonly string[],
  request?: object,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const child = startChild(entry, args);
    let answer: ChildAnswer<T> | null = null;
    child.once('error', reject);
    child.once('message', (message: ChildAnswer<T>) => {
      answer = message;
    });
    // Not 'exit', which can come before the last message; and only now has the next process the
    // machine to itself.
    child.once('close', (code, signal) => {
      if (answer === null) {
        reject(new Error(`${what} failed: it ended early (${signal ?? `exit ${code}`})`));
      } else if ('error' in answer) reject(new Error(`${what} failed: ${answer.error}`));
      else resolve(answer.value);
    });
    if (request !== undefined) child.send(request);
  });
}

/** Ends all processes that come from this one at once, also those of libraries; needs /proc. */
export function killDescendants(): void {
  const childrenOf = new Map<number, number[]>();
  for (const name of existsSync('/proc') ? readdirSync('/proc') : []) {
    const parent = /^\d+$/.test(name) ? parentOf(name) : null;
    if (parent !== null) childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)]);
  }
  const found = [process.pid];
  for (const pid of found) found.push(...(childrenOf.get(pid) ?? []));
  for (const pid of found.slice(1)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
}

function parentOf(pid: string): number | null {
  try {
    // After the name, which may hold anything, in parentheses: state, then the parent.
    const [, parent] = /\) \S (\d+)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
    return parent === undefined ? null : Number(parent);
  } catch {
    return null; // it has ended
  }
}
