import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { endWithParentFlags } from './children.ts';

/** A server of its own process on loopback, as users start it. */
export interface LoadServer {
  readonly url: string;
  /** Of its process; absent where it has none of its own. */
  readonly pid?: number | undefined;
  /** Resident memory of its process, in MB; null where there is no such process or no /proc. */
  rssMb(): number | null;
  /** Asks it to end, and waits; resolves to its exit code. */
  stop(): Promise<number | null>;
  /** Ends it at once, as a machine that goes away does. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

const READY_TIMEOUT_MS = 30_000;
/** The server gives running answers 8 s. */
const CLOSE_TIMEOUT_MS = 15_000;

/**
 * Starts `gemlet serve` with the demo model, or `gemlet gateway`, on a free port.
 * @param entry the compiled command; by default the one beside the compiled bench
 * @param nodeFlags of Node.js, such as the size of its heap
 */
export async function startLoadServer(
  args: readonly string[],
  entry: URL = new URL('../../adapters/cli/main.js', import.meta.url),
  command: 'serve' | 'gateway' = 'serve',
  nodeFlags: readonly string[] = [],
): Promise<LoadServer> {
  const child = spawn(
    process.execPath,
    [...endWithParentFlags(), ...nodeFlags, fileURLToPath(entry), command, '--port', '0', ...args],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    const url = await readUrl(child);
    return {
      url,
      pid: child.pid,
      rssMb: () => residentMb(child.pid),
      async stop() {
        child.kill('SIGTERM');
        await ended;
        return child.exitCode;
      },
      async kill() {
        child.kill('SIGKILL');
        await ended;
      },
      async close() {
        child.kill('SIGTERM');
        const timer = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
        await ended;
        clearTimeout(timer);
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

function residentMb(pid: number | undefined): number | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(status) ?? [];
    return kilobytes === undefined ? null : (Number(kilobytes) * 1024) / 1e6;
  } catch {
    return null; // it has ended, or the system has no /proc
  }
}

function readUrl({ stdout }: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    let isFound = false;
    const timer = setTimeout(() => reject(new Error(`not ready: ${text}`)), READY_TIMEOUT_MS);
    // Read to the end, for a log follows the address.
    stdout?.setEncoding('utf8').on('data', (piece: string) => {
      if (isFound) return;
      text += piece;
      const [, url] = /(?:Ready in .*|gateway) on (http:\/\/[^\s,]+)/.exec(text) ?? [];
      if (url === undefined) return;
      isFound = true;
      clearTimeout(timer);
      resolve(url);
    });
    stdout?.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`the server ended: ${text}`));
    });
  });
}
