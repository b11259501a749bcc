import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { RunResult, RunSpec } from './runner.ts';

/** Runs `spec` in a fresh process, so that no engine inherits the other's memory or threads. */
export function runInChild(spec: RunSpec): Promise<RunResult> {
  // The compiled name: child processes run from dist.
  const entry = fileURLToPath(new URL('./runner-main.js', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = fork(entry, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    let answer: { result?: RunResult; error?: string } = {};
    child.once('error', reject);
    child.once('message', (message: typeof answer) => {
      answer = message;
    });
    // Not 'exit', which can come before the last message; and only now has the next process the
    // machine to itself.
    child.once('close', (code, signal) => {
      if (answer.result !== undefined) {
        resolve(answer.result);
        return;
      }
      const reason = answer.error ?? `it ended early (${signal ?? `exit ${code}`})`;
      reject(new Error(`the ${spec.engine.type} run failed: ${reason}`));
    });
    child.send(spec);
  });
}
