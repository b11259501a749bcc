import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { GenerateEvent } from '../../src/engine/engine.ts';
import { whole, wholes } from './arguments.ts';
import { ensureBenchModel } from './bench-model.ts';
import { reportPart, runPart, writeResults } from './fork-suite.ts';
import { benchPrompt, greedy, openGemletEngine } from './gemlet-streams.ts';
import { withLink } from './link-process.ts';
import { randomTokens } from './measure.ts';
import { formatRestore, type RestoreRow } from './restore-report.ts';
import { shapeOf } from './shapes.ts';

export const RESTORE_USAGE = `Usage: npm run bench -- restore [options]

A conversation's next turn in a process that has never seen it: its pages come from an object store
behind a link of so many Gbit/s, beside computing it again. Prints what was moved, and from how many
tokens on a restore pays.

  --sizes 1b        sizes to run: 1b, mini
  --history 1024,2048,8192
  --rates 1,3,10    Gbit/s
  --threads N       default 2
`;

const CACHE = resolve('.cache/bench');
const BUDGET_BYTES = 4 * 2 ** 30;
const ANSWER_TOKENS = 16;
const NEW_TOKENS = 32;

interface Turn {
  readonly size: string;
  readonly threads: number;
  readonly history: number;
  /** Ids said in the first turn; null: this is the first turn. */
  readonly said: readonly number[] | null;
  /** null: nothing outlives a process. */
  readonly kvStore: string | null;
  /** Of the store's link. */
  readonly endpoint: string | null;
}

export interface TurnResult {
  readonly firstTokenMs: number;
  readonly cachedTokens: number;
  readonly promptTokens: number;
  readonly said: readonly number[];
  readonly fetchedBytes: number;
  readonly writtenBytes: number;
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
  readonly windowTokens: number;
}

export async function runRestore(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      history: { type: 'string', default: '1024,2048,8192' },
      rates: { type: 'string', default: '1,3,10' },
      threads: { type: 'string', default: '2' },
      part: { type: 'string' },
    },
  });
  if (values.part !== undefined) {
    const turn = JSON.parse(values.part) as Turn;
    return reportPart(() => measureTurn(turn));
  }
  const rows: RestoreRow[] = [];
  for (const size of values.sizes.split(',')) {
    ensureBenchModel(CACHE, shapeOf(size), console.error);
    for (const history of wholes('--history', values.history)) {
      const folder = mkdtempSync(join(tmpdir(), 'gemlet-restore-'));
      try {
        const common = { size, threads: whole('--threads', values.threads), history };
        const run = (turn: Omit<Turn, 'size' | 'threads' | 'history'>): Promise<TurnResult> =>
          runPart(['restore', '--part', JSON.stringify({ ...common, ...turn } satisfies Turn)]);
        console.error(`${size}: ${history} tokens, first turn`);
        const first = await run({ said: null, kvStore: folder, endpoint: null });
        const { said } = first;
        console.error(`${size}: ${history} tokens, computed again`);
        const again = await run({ said, kvStore: null, endpoint: null });
        for (const rate of wholes('--rates', values.rates)) {
          console.error(`${size}: ${history} tokens, ${rate} Gbit/s`);
          const restored = await withLink(folder, rate, (endpoint) =>
            run({ said, kvStore: 's3://bucket', endpoint }),
          );
          rows.push({ size, history, rate, first, again, restored });
        }
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
  }
  console.log(formatRestore(rows));
  console.log(`written to ${writeResults('restore', rows)}`);
}

async function measureTurn(turn: Turn): Promise<TurnResult> {
  if (turn.endpoint !== null) {
    // The link asks for no signature; the client wants something to sign with.
    process.env['AWS_ACCESS_KEY_ID'] = process.env['AWS_SECRET_ACCESS_KEY'] = 'bench';
    process.env['AWS_REGION'] = 'us-east-1';
    process.env['AWS_ENDPOINT_URL_S3'] = turn.endpoint;
  }
  const shape = shapeOf(turn.size);
  const { checkpoint } = ensureBenchModel(CACHE, shape, console.error);
  const opened = await openGemletEngine({
    checkpoint,
    threads: turn.threads,
    contextTokens: turn.history + 256,
    rowCount: 1,
    kvBudgetBytes: BUDGET_BYTES,
    ...(turn.kvStore === null ? {} : { kvStore: turn.kvStore }),
  });
  const { engine, backend } = opened;
  const history = randomTokens(`history ${turn.history}`, turn.history, shape.vocabSize);
  const more = randomTokens('more', NEW_TOKENS, shape.vocabSize);
  const tokens = turn.said === null ? history : Int32Array.of(...history, ...turn.said, ...more);
  // The first step of a process is slower than all others.
  await consume(engine.generate(benchPrompt(more, 'warm-up'), greedy(2)));
  const startedMs = performance.now();
  let firstTokenMs = 0;
  let cachedTokens = 0;
  const said: number[] = [];
  for await (const event of engine.generate(benchPrompt(tokens), greedy(ANSWER_TOKENS))) {
    if (event.type === 'token' && said.length === 0) firstTokenMs = performance.now() - startedMs;
    if (event.type === 'token') said.push(event.id);
    if (event.type === 'finish') cachedTokens = event.cachedTokens;
  }
  await engine.drain(60_000);
  const store = engine.stats().store;
  const { kvTokenBytes } = backend;
  await opened.close();
  return {
    firstTokenMs,
    cachedTokens,
    promptTokens: tokens.length,
    said,
    fetchedBytes: store?.fetchedBytes ?? 0,
    writtenBytes: store?.writtenBytes ?? 0,
    kvTokenBytes,
    windowTokens: shape.windowTokens,
  };
}

async function consume(events: AsyncIterable<GenerateEvent>): Promise<void> {
  for await (const event of events) if (event.type === 'finish') return;
}
