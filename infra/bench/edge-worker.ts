import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type LocalWorker, startLocalWorker } from '../local-worker.ts';
import type { EdgeInputs } from './edge-inputs.ts';

export interface WorkerRun {
  readonly tokens: number;
  readonly firstMs: number;
  /** Milliseconds of round trips over loopback: body in, prepared, ids out. */
  readonly ms: readonly number[];
  /** Most resident memory of workerd so far, in MB. */
  readonly peakMb: number | null;
}

export interface WorkerReport {
  /** Milliseconds of the first request of all, which starts the isolate's script. */
  readonly startMs: number;
  readonly idleMb: number | null;
  /** Milliseconds of round trips that prepare nothing. */
  readonly emptyMs: readonly number[];
  readonly text: WorkerRun;
  readonly picture: WorkerRun;
}

export const BENCH_KEY = 'a key of the bench alone';
const VARS = {
  BUNDLE: '',
  MODEL_ID: 'bench',
  CONTEXT_TOKENS: '8192',
  FLEET_KEYS: BENCH_KEY,
  ALLOW_ANYONE: 'true',
};

/** Prepares in the built Worker in workerd, by `/tokenize`, which computes nothing elsewhere. */
export async function measureWorker(inputs: EdgeInputs, rounds: number): Promise<WorkerReport> {
  const { files, picture, text } = inputs;
  const replica = await startIdleReplica();
  const worker = await startLocalWorker({
    vars: { ...VARS, REPLICAS: replica.url },
    objects: files,
  });
  const pid = workerdPid();
  try {
    const url = `data:image/jpeg;base64,${Buffer.from(picture).toString('base64')}`;
    const emptyMs: number[] = [];
    let idleMb: number | null = null;
    for (let round = 0; round <= rounds; round++) {
      const startedMs = performance.now();
      await (await fetch(`${worker.url}/health/live`)).text();
      emptyMs.push(performance.now() - startedMs);
      idleMb ??= peakMb(pid);
    }
    const [startMs = 0, ...laterMs] = emptyMs;
    return {
      startMs,
      idleMb,
      emptyMs: laterMs,
      text: await tokenize(worker, pid, text, rounds),
      picture: await tokenize(
        worker,
        pid,
        [
          { type: 'image_url', image_url: { url } },
          { type: 'text', text },
        ],
        rounds,
      ),
    };
  } finally {
    await worker.close();
    replica.close();
  }
}

/** Says that it is ready, which is asked before prompts are tokenized, and nothing else. */
async function startIdleReplica(): Promise<{ readonly url: string; readonly close: () => void }> {
  const status = { replica: 'idle', state: 'ready', fingerprint: null, progress: null };
  const body = JSON.stringify({ ...status, running: 0, waiting: 0, slots: 4 });
  const server = createServer((_request, response) => response.end(body));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => void server.close() };
}

async function tokenize(
  worker: LocalWorker,
  pid: number | null,
  content: unknown,
  rounds: number,
): Promise<WorkerRun> {
  const body = JSON.stringify({ messages: [{ role: 'user', content }] });
  const headers = { 'content-type': 'application/json' };
  const ms: number[] = [];
  let tokens = 0;
  for (let round = 0; round <= rounds; round++) {
    const startedMs = performance.now();
    const response = await fetch(`${worker.url}/tokenize`, { method: 'POST', headers, body });
    const answer = (await response.json()) as { readonly count?: number };
    ms.push(performance.now() - startedMs);
    if (answer.count === undefined) throw new Error(`/tokenize: ${JSON.stringify(answer)}`);
    tokens = answer.count;
  }
  const [firstMs = 0, ...later] = ms;
  return { tokens, firstMs, ms: later, peakMb: peakMb(pid) };
}

/** The child of this process that runs workerd; null where there is no /proc. */
function workerdPid(): number | null {
  try {
    for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
      const status = statusOf(Number(name));
      if (status.includes('Name:\tworkerd') && status.includes(`PPid:\t${process.pid}\n`)) {
        return Number(name);
      }
    }
  } catch {
    // Not Linux.
  }
  return null;
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    // Ended meanwhile.
    return '';
  }
}

function peakMb(pid: number | null): number | null {
  const found = pid === null ? null : /VmHWM:\s+(\d+) kB/.exec(statusOf(pid));
  return found === null ? null : Number(found[1]) / 1_000;
}
