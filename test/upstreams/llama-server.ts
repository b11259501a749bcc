import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { writeDemoGguf } from './demo-gguf.ts';

export interface RunningLlama {
  readonly url: string;
  /** Requests that its slots compute now. */
  busy(): Promise<number>;
  /** Of the latest request that a slot had. */
  lastSampling(): Promise<Readonly<Record<string, unknown>>>;
  /** As a machine that dies. */
  kill(): Promise<void>;
  stop(): Promise<void>;
}

interface Slot {
  readonly id_task?: number;
  readonly is_processing: boolean;
  readonly params?: Readonly<Record<string, unknown>>;
}

const SCRIPT = fileURLToPath(new URL('../../infra/upstreams/llama-server.sh', import.meta.url));
export const LLAMA_CONTEXT = 1024;
const SLOTS = 4;

/** Starts llama.cpp's server with the demo model; builds it first where it is not there. */
export async function startLlama(): Promise<RunningLlama> {
  const { stdout } = await promisify(execFile)(SCRIPT);
  const folder = await mkdtemp(join(tmpdir(), 'gemlet-llama-'));
  const { model, mmproj } = await writeDemoGguf(folder);
  const options = {
    model,
    mmproj,
    alias: 'gemma',
    host: '127.0.0.1',
    port: 0,
    parallel: SLOTS,
    'ctx-size': SLOTS * LLAMA_CONTEXT,
    // Several threads wait for each other by spinning, which a busy machine makes slow.
    threads: 1,
    'threads-batch': 1,
    // As exact as it can be.
    'cache-type-k': 'f32',
    'cache-type-v': 'f32',
    'flash-attn': 'off',
  };
  const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(stdout.trim(), [...flags, '--no-kv-unified', '--no-warmup'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit');
  const lines: string[] = [];
  const url = await new Promise<string>((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      lines.push(line);
      const found = /listening on (http:\S+)/.exec(line)?.[1];
      if (found !== undefined) resolve(found);
    });
    void exited.then(() => reject(new Error(`llama-server ended: ${lines.slice(-9).join('\n')}`)));
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };
  const slots = async (): Promise<readonly Slot[]> =>
    (await (await fetch(`${url}/slots`)).json()) as readonly Slot[];
  return {
    url,
    async busy() {
      return (await slots()).filter((slot) => slot.is_processing).length;
    },
    async lastSampling() {
      const all = (await slots()).toSorted((a, b) => (b.id_task ?? -1) - (a.id_task ?? -1));
      return all[0]?.params ?? {};
    },
    kill: () => end('SIGKILL'),
    async stop() {
      await end('SIGTERM');
      await rm(folder, { recursive: true, force: true });
    },
  };
}
