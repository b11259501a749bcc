import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A server of its own process on loopback, as users start it. */
export interface LoadServer {
  readonly url: string;
  /** Resident memory of its process, in MB. */
  rssMb(): number;
  close(): Promise<void>;
}

const READY_TIMEOUT_MS = 30_000;

/**
 * Starts `gemlet serve` with the demo model on a free port.
 * @param entry the compiled command; by default the one beside the compiled bench
 */
export async function startLoadServer(
  args: readonly string[],
  entry: URL = new URL('../../adapters/cli/main.js', import.meta.url),
): Promise<LoadServer> {
  const child = spawn(process.execPath, [fileURLToPath(entry), 'serve', '--port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    const url = await readUrl(child);
    return {
      url,
      rssMb: () => {
        const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
        return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1000;
      },
      async close() {
        child.kill('SIGTERM');
        await ended;
      },
    };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}

function readUrl({ stdout }: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => reject(new Error(`not ready: ${text}`)), READY_TIMEOUT_MS);
    stdout?.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      const [, url] = /Ready in .* on (http:\/\/\S+)/.exec(text) ?? [];
      if (url === undefined) return;
      clearTimeout(timer);
      resolve(url);
    });
    stdout?.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`the server ended: ${text}`));
    });
  });
}
