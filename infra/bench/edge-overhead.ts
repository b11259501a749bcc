import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import { startLocalWorker } from '../local-worker.ts';
import { type ChatMessage, streamChat } from './load-client.ts';
import { startLoadServer } from './load-server.ts';
import { BENCH_KEY } from './edge-worker.ts';

/** The same requests to a replica itself, and to it through something. */
export interface OverheadReport {
  readonly replica: PathRun;
  /** Through `gemlet gateway`. */
  readonly gateway: PathRun;
  /** Through the Worker in workerd. */
  readonly worker: PathRun;
}

export interface PathRun {
  /** Milliseconds to the first text of single requests, one at a time. */
  readonly ttftMs: readonly number[];
  /** Tokens a second of several streams at once, all together; one number a round. */
  readonly tokensPerSecond: readonly number[];
}

const DEMO = 'infra/demo-model';
const FILES = ['config.json', 'generation_config.json', 'preprocessor_config.json'];
const STREAMS = 4;
const STREAM_TOKENS = 128;
/** Every answer is computed from the start, and as long as the others. */
const OPTIONS = { ignore_eos: true, temperature: 0 };

/** Round for round one request a path, in turning order, so that all meet the same machine. */
export async function measureOverhead(rounds: number): Promise<OverheadReport> {
  const replica = await startLoadServer(['--fleet-key', BENCH_KEY, '--slots', String(STREAMS)]);
  try {
    const gateway = await startLoadServer(
      ['--replica', replica.url, '--fleet-key', BENCH_KEY],
      undefined,
      'gateway',
    );
    try {
      const worker = await startLocalWorker({
        vars: {
          BUNDLE: '',
          MODEL_ID: 'bench',
          CONTEXT_TOKENS: '4096',
          REPLICAS: replica.url,
          FLEET_KEYS: BENCH_KEY,
          ALLOW_ANYONE: 'true',
        },
        objects: await demoFiles(),
      });
      try {
        return await compare([replica.url, gateway.url, worker.url], rounds);
      } finally {
        await worker.close();
      }
    } finally {
      await gateway.close();
    }
  } finally {
    await replica.close();
  }
}

async function compare(urls: readonly string[], rounds: number): Promise<OverheadReport> {
  const runs = urls.map((url) => ({
    url,
    ttftMs: [] as number[],
    tokensPerSecond: [] as number[],
  }));
  for (const { url } of runs) await streamChat(url, question(-1), { ...OPTIONS, max_tokens: 4 });
  for (let round = 0; round < rounds; round++) {
    for (let step = 0; step < runs.length; step++) {
      const run = runs[(round + step) % runs.length];
      if (run === undefined) continue;
      // One word differs, and it comes first: nothing is reused.
      const messages = question(round * runs.length + step);
      const { ttftMs } = await streamChat(run.url, messages, { ...OPTIONS, max_tokens: 4 });
      run.ttftMs.push(ttftMs);
      if (round % 4 === 0) run.tokensPerSecond.push(await throughput(run.url, round));
    }
  }
  const [replica, gateway, worker] = runs;
  if (replica === undefined || gateway === undefined || worker === undefined) {
    throw new RangeError('three paths are compared');
  }
  return { replica, gateway, worker };
}

async function throughput(url: string, round: number): Promise<number> {
  const startedMs = performance.now();
  const answers = await Promise.all(
    Array.from({ length: STREAMS }, (_, stream) =>
      streamChat(url, question(1e6 + round * STREAMS + stream), {
        ...OPTIONS,
        max_tokens: STREAM_TOKENS,
      }),
    ),
  );
  const tokens = answers.reduce((sum, { completionTokens }) => sum + completionTokens, 0);
  return (tokens / (performance.now() - startedMs)) * 1_000;
}

function question(number: number): ChatMessage[] {
  return [{ role: 'user', content: `${number}: what do you see, and what would you say of it?` }];
}

async function demoFiles(): Promise<Record<string, Uint8Array>> {
  return {
    ...Object.fromEntries(FILES.map((name) => [name, demoFile(name)])),
    'vocabulary.bin': await buildVocabulary(demoFile('tokenizer.json')),
  };
}

function demoFile(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(join(DEMO, name)));
}
