import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { Backend } from '../../src/engine/backend.ts';
import { chunkLength } from '../../src/engine/scheduler.ts';
import { DRAFT_LENGTHS } from '../../src/engine/speculation.ts';
import { whole, wholes } from './arguments.ts';
import { ensureBenchModel } from './bench-model.ts';
import { reportPart, runPart } from './fork-suite.ts';
import { openGemletEngine } from './gemlet-streams.ts';
import { randomTokens } from './measure.ts';
import { recordResults } from './results.ts';
import { shapeOf } from './shapes.ts';
import { median } from './stats.ts';

export const DRAFT_USAGE = `Usage: npm run bench -- draft [options]

What it takes to check a draft of --speculate in one step, beside decoding one token, and how many
of its tokens must hold for it to pay. How many do depends on the text: random weights cannot tell.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --contexts 128,2048
  --steps N         steps of each kind, interleaved; default 24
  --threads N       default 2
`;

interface DraftSettings {
  readonly size: string;
  readonly contexts: readonly number[];
  readonly steps: number;
  readonly threads: number;
}

interface DraftCost {
  readonly context: number;
  readonly decodeMs: number;
  /** By `DRAFT_LENGTHS`. */
  readonly checkMs: readonly number[];
}

interface DraftResult {
  readonly settings: DraftSettings;
  readonly costs: readonly DraftCost[];
}

const CACHE = resolve('.cache/bench');
const ROWS = 4;

export async function runDraft(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      contexts: { type: 'string', default: '128,2048' },
      steps: { type: 'string', default: '24' },
      threads: { type: 'string', default: '2' },
      part: { type: 'string' },
    },
  });
  if (values.part !== undefined) {
    const settings = JSON.parse(values.part) as DraftSettings;
    await reportPart(() => measureCosts(settings));
    return;
  }
  const sizes = values.sizes.split(',');
  const common = {
    contexts: wholes('--contexts', values.contexts),
    steps: whole('--steps', values.steps),
    threads: whole('--threads', values.threads),
  };
  await recordResults<readonly DraftResult[]>(
    {
      suite: 'draft',
      planned: sizes.length,
      format: (results) =>
        results.map(({ settings, costs }) => format(settings, costs)).join('\n\n'),
    },
    async (keep) => {
      const results: DraftResult[] = [];
      for (const size of sizes) {
        ensureBenchModel(CACHE, shapeOf(size), console.error);
        const settings = { size, ...common };
        const costs = await runPart<DraftCost[]>(['draft', '--part', JSON.stringify(settings)]);
        results.push({ settings, costs });
        keep(results);
      }
      return results;
    },
  );
}

async function measureCosts(settings: DraftSettings): Promise<DraftCost[]> {
  const shape = shapeOf(settings.size);
  const { checkpoint } = ensureBenchModel(CACHE, shape, console.error);
  const opened = await openGemletEngine({
    checkpoint,
    threads: settings.threads,
    contextTokens: Math.max(...settings.contexts) + 64,
    rowCount: ROWS,
    kvBudgetBytes: 0,
  });
  const { backend } = opened;
  const costs: DraftCost[] = [];
  for (const context of settings.contexts) {
    backend.truncate(0, 0);
    await prefill(backend, randomTokens(`context ${context}`, context, shape.vocabSize));
    const kinds = [0, ...DRAFT_LENGTHS];
    const times = kinds.map((): number[] => []);
    for (let step = 0; step < settings.steps; step++) {
      for (const [kind, drafted] of kinds.entries()) {
        times[kind]?.push(await timeStep(backend, context, drafted));
      }
    }
    const [decodeMs = 0, ...checkMs] = times.map(median);
    costs.push({ context, decodeMs, checkMs });
  }
  await opened.close();
  return costs;
}

async function prefill(backend: Backend, tokens: Int32Array): Promise<void> {
  for (let start = 0; start < tokens.length;) {
    const end = start + chunkLength(tokens.length - start, backend.chunkTokens);
    const chunk = { row: 0, start, tokens: tokens.slice(start, end), image: null };
    await backend.forward({ decode: [], chunk: { ...chunk, logits: 'none' } });
    start = end;
  }
}

/** Milliseconds to decode a token at `start`, or to check `drafted` more with it. */
async function timeStep(backend: Backend, start: number, drafted: number): Promise<number> {
  const startedMs = performance.now();
  if (drafted === 0) {
    await backend.forward({ decode: [{ row: 0, start, token: 1000 }], chunk: null });
  } else {
    const tokens = new Int32Array(drafted + 1).fill(1000);
    const chunk = { row: 0, start, tokens, image: null, logits: 'all' as const };
    await backend.forward({ decode: [], chunk });
  }
  const durationMs = performance.now() - startedMs;
  backend.truncate(0, start);
  return durationMs;
}

function format({ size, steps, threads }: DraftSettings, costs: readonly DraftCost[]): string {
  const lines = [
    `## ${size}: checking drafts, ${threads} threads, medians of ${steps} steps`,
    '',
    `An engine of ${ROWS} rows with one running, as served.`,
    '',
    '| context | decode of one token | draft | check | pays from |',
    '|---|---|---|---|---|',
  ];
  for (const { context, decodeMs, checkMs } of costs) {
    for (const [at, ms] of checkMs.entries()) {
      const needed = (ms / decodeMs - 1).toFixed(2);
      lines.push(
        `| ${context} | ${decodeMs.toFixed(1)} ms | ${DRAFT_LENGTHS[at]} tokens | ${ms.toFixed(1)} ms | ${needed} tokens that hold |`,
      );
    }
  }
  return lines.join('\n');
}
