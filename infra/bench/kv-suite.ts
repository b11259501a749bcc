import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Engine } from '../../src/engine/engine.ts';
import { ensureBenchModel } from './bench-model.ts';
import { writeResults } from './fork-suite.ts';
import { benchPrompt, greedy, openGemletEngine } from './gemlet-streams.ts';
import { randomTokens } from './measure.ts';
import { shapeOf } from './shapes.ts';

export const KV_USAGE = `Usage: npm run bench -- kv [options]

What a second turn costs: its time to the first token beside the first turn's, from a warm row, from
pages in host memory, and computed again. Text only: the random bench models have no vision tower.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --history 2048,8192
  --threads N       default 2
`;

const ANSWER_TOKENS = 16;
const NEW_TOKENS = 32;
const OTHER_TOKENS = 64;

interface Turn {
  readonly ttftMs: number;
  readonly cachedTokens: number;
  readonly ids: readonly number[];
}

interface KvResult {
  readonly history: number;
  readonly first: Turn;
  readonly warm: Turn;
  readonly restored: Turn;
  readonly recomputed: Turn;
  readonly pageBytes: number;
}

export async function runKv(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      history: { type: 'string', default: '2048,8192' },
      threads: { type: 'string', default: '2' },
    },
  });
  const results = [];
  for (const size of values.sizes.split(',')) {
    const shape = shapeOf(size);
    const { checkpoint } = ensureBenchModel(resolve('.cache/bench'), shape, console.error);
    const lengths = values.history.split(',').map(Number);
    const contextTokens = Math.max(...lengths) + 256;
    const common = { checkpoint, threads: Number(values.threads), rowCount: 1, contextTokens };
    const opened = await openGemletEngine({ ...common, kvBudgetBytes: 8 * 2 ** 30 });
    console.log(`${size}: one row; pages in host memory`);
    console.log(
      'history | turn 1 | turn 2, warm row | turn 3, from pages | computed again | pages',
    );
    for (const history of lengths) {
      const tokens = randomTokens(`history ${history}`, history, shape.vocabSize);
      const result = await measureHistory(opened.engine, history, tokens, shape.vocabSize);
      console.log(lineOf(result));
      results.push({ size, ...result });
    }
    await opened.close();
  }
  console.log(`written to ${writeResults('kv', results)}`);
}

async function measureHistory(
  engine: Engine,
  history: number,
  tokens: Int32Array,
  vocabSize: number,
): Promise<KvResult> {
  const more = (seed: string, count: number): Int32Array => randomTokens(seed, count, vocabSize);
  const scope = `kv ${history}`;
  // Kernels run once before anything is timed.
  await ask(engine, more('warm-up', OTHER_TOKENS), 'warm-up');
  const first = await ask(engine, tokens, scope);
  const secondPrompt = joined(tokens, first.ids, more(`second ${history}`, NEW_TOKENS));
  const warm = await ask(engine, secondPrompt, scope);
  // Somebody else takes the only row.
  await ask(engine, more(`other ${history}`, OTHER_TOKENS), 'other');
  const thirdPrompt = joined(secondPrompt, warm.ids, more(`third ${history}`, NEW_TOKENS));
  const restored = await ask(engine, thirdPrompt, scope);
  const pageBytes = engine.stats().pages.bytes;
  const recomputed = await ask(engine, thirdPrompt, `${scope} again`);
  return { history, first, warm, restored, recomputed, pageBytes };
}

async function ask(engine: Engine, tokens: Int32Array, scope: string): Promise<Turn> {
  const startedMs = performance.now();
  let ttftMs = 0;
  let cachedTokens = 0;
  const ids: number[] = [];
  for await (const event of engine.generate(benchPrompt(tokens, scope), greedy(ANSWER_TOKENS))) {
    if (event.type === 'prefill-end') cachedTokens = event.cachedTokens;
    if (event.type !== 'token') continue;
    if (ids.length === 0) ttftMs = performance.now() - startedMs;
    ids.push(event.id);
  }
  return { ttftMs, cachedTokens, ids };
}

function joined(...parts: readonly ArrayLike<number>[]): Int32Array {
  return Int32Array.from(parts.flatMap((part) => Array.from(part)));
}

function lineOf({ history, first, warm, restored, recomputed, pageBytes }: KvResult): string {
  const share = (turn: Turn): string =>
    `${turn.ttftMs.toFixed(0)} ms (${((100 * turn.ttftMs) / first.ttftMs).toFixed(1)} %, ${turn.cachedTokens} cached)`;
  return `${history} | ${first.ttftMs.toFixed(0)} ms | ${share(warm)} | ${share(restored)} | ${recomputed.ttftMs.toFixed(0)} ms | ${(pageBytes / 1e6).toFixed(0)} MB`;
}
