import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { whole } from './arguments.ts';
import { runInChild } from './children.ts';
import { countReports, runEngineSuite } from './engine-suite.ts';
import type { EngineReport, EngineSuiteOptions } from './engine-suite.ts';
import { describeMachine } from './machine.ts';
import { formatReport } from './report.ts';
import type { BenchReport } from './report.ts';
import { recordResults } from './results.ts';
import type { ResultsHeader } from './results.ts';
import { shapeOf } from './shapes.ts';

const USAGE = `Usage: npm run bench -- engine [options]

Measures gemlet and llama.cpp on the same random weights in the true shapes of Gemma 3, and writes
bench-results/engine-<time>.json. Models and llama.cpp are kept in .cache/bench (1b: 1.8 GB,
4b: 5 GB). A run that is stopped leaves what it had measured in its file, marked as partial; so do
all suites.

  --sizes 1b,4b     sizes to run: 1b, 4b, mini (a toy for trying this out)
  --rounds N        pairs of runs a size; default 4, for 4b 3
  --threads N       threads of both engines; default 2
  --quick           one round, short contexts: to see that it works, not to quote
  --only ENGINE     gemlet or llama alone
  --help

Other suites: attack, batch, cold, convert, draft, edge, kv, load, placement, restore and sampling; each
has --help
`;

/** Room for the longest decode measurement. */
const CONTEXT_TOKENS = 4608;

const FULL_PLAN: EngineSuiteOptions['plan'] = {
  prefillTokens: 512,
  prefillRepeats: 3,
  decodeContexts: [128, 512, 4096],
  decodeTokens: 48,
};

const QUICK_PLAN: EngineSuiteOptions['plan'] = {
  prefillTokens: 512,
  prefillRepeats: 1,
  decodeContexts: [128, 512],
  decodeTokens: 16,
};

interface Arguments {
  readonly sizes: readonly string[];
  readonly rounds: number | null;
  readonly threads: number;
  readonly quick: boolean;
  readonly only: 'gemlet' | 'llama' | null;
}

function parse(args: readonly string[]): Arguments | null {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      sizes: { type: 'string' },
      rounds: { type: 'string' },
      threads: { type: 'string', default: '2' },
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help || positionals.length === 0) return null;
  if (positionals.join() !== 'engine') {
    throw new RangeError(
      `there is no bench '${positionals.join(' ')}'; there are: engine, ${Object.keys(SUITES).join(', ')}`,
    );
  }
  const { only = null } = values;
  if (only !== null && only !== 'gemlet' && only !== 'llama') {
    throw new RangeError(`--only takes gemlet or llama, not '${only}'`);
  }
  return {
    sizes: (values.sizes ?? (values.quick ? '1b' : '1b,4b')).split(','),
    rounds: values.rounds === undefined ? null : whole('--rounds', values.rounds),
    threads: whole('--threads', values.threads),
    quick: values.quick,
    only,
  };
}

function log(line: string): void {
  console.error(line);
}

async function run(options: Arguments): Promise<void> {
  const { load } = describeMachine();
  if (load > 0.5) log(`load is ${load}: numbers of a busy machine mean little`);
  const plans = options.sizes.map(shapeOf).map((shape) => {
    const defaultRounds = options.quick ? 1 : shape.name === '4b' ? 3 : 4;
    const suite: EngineSuiteOptions = {
      cacheFolder: '.cache/bench',
      rounds: options.rounds ?? defaultRounds,
      threads: options.threads,
      contextTokens: CONTEXT_TOKENS,
      plan: options.quick ? QUICK_PLAN : FULL_PLAN,
      checkLengths: [20, 700],
      only: options.only,
      run: (spec) => runInChild(`the ${spec.engine.type} run`, './runner-main.js', [], spec),
      log,
    };
    return { shape, suite };
  });
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  const toReport = (sizes: readonly EngineReport[], header: ResultsHeader): BenchReport => ({
    ...header,
    gemlet: version,
    sizes,
  });
  await recordResults<readonly EngineReport[]>(
    {
      suite: 'engine',
      planned: plans.reduce((sum, { suite }) => sum + countReports(suite), 0),
      format: (sizes, header) => formatReport(toReport(sizes, header)),
      toReport,
    },
    async (keep) => {
      const sizes: EngineReport[] = [];
      for (const { shape, suite } of plans) {
        const onReport = (report: EngineReport): void => keep([...sizes, report]);
        sizes.push(await runEngineSuite(shape, { ...suite, onReport }));
      }
      return sizes;
    },
  );
}

interface Suite {
  readonly usage: string;
  readonly run: (args: readonly string[]) => Promise<void>;
}

/** Suites beside `engine`; imported when asked for, since each brings its own libraries. */
const SUITES: Readonly<Record<string, () => Promise<Suite>>> = {
  attack: () =>
    import('../attacks/suite.ts').then((m) => ({ usage: m.ATTACK_USAGE, run: m.runAttacks })),
  batch: () => import('./batch-suite.ts').then((m) => ({ usage: m.BATCH_USAGE, run: m.runBatch })),
  kv: () => import('./kv-suite.ts').then((m) => ({ usage: m.KV_USAGE, run: m.runKv })),
  restore: () =>
    import('./restore-suite.ts').then((m) => ({ usage: m.RESTORE_USAGE, run: m.runRestore })),
  load: () => import('./load-suite.ts').then((m) => ({ usage: m.LOAD_USAGE, run: m.runLoad })),
  convert: () =>
    import('./convert-suite.ts').then((m) => ({ usage: m.CONVERT_USAGE, run: m.runConvert })),
  cold: () => import('./cold-suite.ts').then((m) => ({ usage: m.COLD_USAGE, run: m.runColdSuite })),
  placement: () =>
    import('./placement-suite.ts').then((m) => ({ usage: m.PLACEMENT_USAGE, run: m.runPlacement })),
  draft: () => import('./draft-suite.ts').then((m) => ({ usage: m.DRAFT_USAGE, run: m.runDraft })),
  sampling: () =>
    import('./sampling-suite.ts').then((m) => ({ usage: m.SAMPLING_USAGE, run: m.runSampling })),
  edge: () => import('./edge-suite.ts').then((m) => ({ usage: m.EDGE_USAGE, run: m.runEdge })),
};

async function runSuite(suite: string | undefined, args: readonly string[]): Promise<boolean> {
  if (suite === undefined || !Object.hasOwn(SUITES, suite)) return false;
  const found = await SUITES[suite]?.();
  if (args.includes('--help')) console.log(found?.usage);
  else await found?.run(args);
  return true;
}

try {
  const [suite, ...rest] = process.argv.slice(2);
  if (!(await runSuite(suite, rest))) {
    const options = parse(process.argv.slice(2));
    if (options === null) console.log(USAGE);
    else await run(options);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
  // A part of a suite: native threads and the channel to its parent would keep it alive.
  if (process.send !== undefined) process.exit();
}
