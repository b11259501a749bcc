import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Engine, StoreUse } from '../../src/engine/engine.ts';
import { decimals, whole, wholes } from './arguments.ts';
import { ensureBenchModel } from './bench-model.ts';
import { reportPart, runPart } from './fork-suite.ts';
import { benchPrompt, greedy, openGemletEngine, type KvStoreFormat } from './gemlet-streams.ts';
import { withLink } from './link-process.ts';
import { randomTokens } from './measure.ts';
import { formatRestore, type RestoreRow } from './restore-report.ts';
import { recordResults } from './results.ts';
import { shapeOf } from './shapes.ts';

export const RESTORE_USAGE = `Usage: npm run bench -- restore [options]

A conversation's next turn in a process that has never seen it: its pages come from an object store
behind a link of so many Gbit/s, beside computing it again. Prints what was moved, what a process that
knows link and device chooses by itself, and from how many tokens on a restore pays.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --history 1024,2048,8192
  --rates 0.05,1,3,10   Gbit/s
  --format exact    how pages are stored: exact or int8
  --threads N       default 2
`;

const CACHE = resolve('.cache/bench');
const BUDGET_BYTES = 4 * 2 ** 30;
const ANSWER_TOKENS = 16;
const NEW_TOKENS = 32;
/** Enough to be looked for in the store. */
const WARM_UP_TOKENS = 64;
/**
 * Of another conversation, whose next turn teaches a process the rates of link and device: restored, then so
 * many new ones computed.
 */
const LESSON_TOKENS = 1024;

interface Turn {
  readonly size: string;
  readonly threads: number;
  readonly history: number;
  readonly format: KvStoreFormat;
  /** `lesson` writes what `faster` learns from. */
  readonly kind: 'lesson' | 'always' | 'faster';
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
  /** null: the store had nothing to choose. */
  readonly choice: StoreUse['choice'] | null;
  readonly said: readonly number[];
  readonly fetchedBytes: number;
  readonly writtenBytes: number;
  /** As gemlet keeps them. */
  readonly kvTokenBytes: { readonly global: number; readonly local: number };
  readonly headDim: number;
  readonly windowTokens: number;
}

export async function runRestore(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      history: { type: 'string', default: '1024,2048,8192' },
      rates: { type: 'string', default: '0.05,1,3,10' },
      format: { type: 'string', default: 'exact' },
      threads: { type: 'string', default: '2' },
      part: { type: 'string' },
    },
  });
  if (values.part !== undefined) {
    const turn = JSON.parse(values.part) as Turn;
    return reportPart(() => measureTurn(turn));
  }
  const format = formatOf(values.format);
  const rates = decimals('--rates', values.rates);
  const plan = {
    sizes: values.sizes.split(','),
    histories: wholes('--history', values.history),
    rates,
    format,
    threads: whole('--threads', values.threads),
  };
  const planned = plan.sizes.length * plan.histories.length * rates.length;
  await recordResults<readonly RestoreRow[]>(
    { suite: 'restore', planned, format: formatRestore },
    (keep) => measureRows(plan, keep),
  );
}

interface Plan {
  readonly sizes: readonly string[];
  readonly histories: readonly number[];
  /** Gbit/s */
  readonly rates: readonly number[];
  readonly format: KvStoreFormat;
  readonly threads: number;
}

async function measureRows(
  { sizes, histories, rates, format, threads }: Plan,
  keep: (rows: readonly RestoreRow[]) => void,
): Promise<readonly RestoreRow[]> {
  const rows: RestoreRow[] = [];
  for (const size of sizes) {
    ensureBenchModel(CACHE, shapeOf(size), console.error);
    for (const history of histories) {
      const folder = mkdtempSync(join(tmpdir(), 'gemlet-restore-'));
      try {
        const common = { size, threads, history, format };
        const run = (turn: Omit<Turn, keyof typeof common>): Promise<TurnResult> =>
          runPart(['restore', '--part', JSON.stringify({ ...common, ...turn } satisfies Turn)]);
        console.error(`${size}: ${history} tokens, first turn`);
        const local = { said: null, kvStore: folder, endpoint: null };
        const first = await run({ ...local, kind: 'always' });
        await run({ ...local, kind: 'lesson' });
        const { said } = first;
        console.error(`${size}: ${history} tokens, computed again`);
        const again = await run({ said, kind: 'always', kvStore: null, endpoint: null });
        for (const rate of rates) {
          const over = (kind: 'always' | 'faster'): Promise<TurnResult> => {
            console.error(`${size}: ${history} tokens, ${rate} Gbit/s, ${kind}`);
            return withLink(folder, rate, (endpoint) =>
              run({ said, kind, kvStore: 's3://bucket', endpoint }),
            );
          };
          const restored = await over('always');
          const chosen = await over('faster');
          rows.push({ size, history, rate, format, first, again, restored, chosen });
          keep(rows);
        }
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
  }
  return rows;
}

function formatOf(text: string): KvStoreFormat {
  if (text === 'exact' || text === 'int8') return text;
  throw new RangeError(`--format takes exact or int8, not '${text}'`);
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
    contextTokens: Math.max(turn.history, 2 * LESSON_TOKENS) + 256,
    rowCount: 1,
    kvBudgetBytes: BUDGET_BYTES,
    kvRestore: turn.kind === 'faster' ? 'faster' : 'always',
    kvStoreFormat: turn.format,
    ...(turn.kvStore === null ? {} : { kvStore: turn.kvStore }),
  });
  const { engine, backend } = opened;
  const random = (name: string, count: number): Int32Array =>
    randomTokens(name, count, shape.vocabSize);
  const history = random(`history ${turn.history}`, turn.history);
  const more = random('more', NEW_TOKENS);
  const lesson = random('lesson', LESSON_TOKENS);
  // The first step of a process is slower than all others, and so is the store's first answer.
  await answer(engine, random('warm-up', WARM_UP_TOKENS), 'warm-up');
  if (turn.kind === 'lesson') await answer(engine, lesson, 'lesson');
  if (turn.kind === 'faster') {
    const news = random('news', LESSON_TOKENS);
    await answer(engine, Int32Array.of(...lesson, ...news), 'lesson');
  }
  await opened.flush();
  const fetchedBefore = engine.stats().store?.fetchedBytes ?? 0;
  const tokens = turn.said === null ? history : Int32Array.of(...history, ...turn.said, ...more);
  const result = turn.kind === 'lesson' ? NO_ANSWER : await answer(engine, tokens);
  await engine.drain(60_000);
  const store = engine.stats().store;
  const { kvTokenBytes } = backend;
  await opened.close();
  return {
    ...result,
    promptTokens: tokens.length,
    fetchedBytes: (store?.fetchedBytes ?? 0) - fetchedBefore,
    writtenBytes: store?.writtenBytes ?? 0,
    kvTokenBytes,
    headDim: shape.headDim,
    windowTokens: shape.windowTokens,
  };
}

type Answer = Pick<TurnResult, 'firstTokenMs' | 'cachedTokens' | 'choice' | 'said'>;

const NO_ANSWER: Answer = { firstTokenMs: 0, cachedTokens: 0, choice: null, said: [] };

async function answer(engine: Engine, tokens: Int32Array, scope = ''): Promise<Answer> {
  const startedMs = performance.now();
  let { firstTokenMs, cachedTokens, choice } = NO_ANSWER;
  const said: number[] = [];
  for await (const event of engine.generate(benchPrompt(tokens, scope), greedy(ANSWER_TOKENS))) {
    if (event.type === 'prefill-end') choice = event.store?.choice ?? null;
    if (event.type === 'token' && said.length === 0) firstTokenMs = performance.now() - startedMs;
    if (event.type === 'token') said.push(event.id);
    if (event.type === 'finish') cachedTokens = event.cachedTokens;
  }
  return { firstTokenMs, cachedTokens, choice, said };
}
