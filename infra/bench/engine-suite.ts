import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ensureBenchModel } from './bench-model.ts';
import { ensureLlamaTool } from './llama-tool.ts';
import type { MeasurePlan } from './measure.ts';
import type { EngineSpec, RunResult, RunSpec } from './runner.ts';
import type { TextShape } from './shapes.ts';
import { compareLogits, median } from './stats.ts';
import type { LogitAgreement } from './stats.ts';

export interface EngineSuiteOptions {
  /** Folder of the models and of llama.cpp; both are reused. */
  readonly cacheFolder: string;
  readonly rounds: number;
  readonly threads: number;
  readonly contextTokens: number;
  readonly plan: Omit<MeasurePlan, 'vocabSize'>;
  /** Prompt lengths at which the engines' next-token probabilities are compared. */
  readonly checkLengths: readonly number[];
  /** Leaves the other engine out: no pairs, no ratios. */
  readonly only: 'gemlet' | 'llama' | null;
  readonly run: (spec: RunSpec) => Promise<RunResult>;
  readonly log: (line: string) => void;
  /** Gets the report so far whenever something was measured. */
  readonly onReport?: (report: EngineReport) => void;
}

/** How many reports a whole suite gives to `onReport`. */
export function countReports({ only, rounds, checkLengths }: EngineSuiteOptions): number {
  const checks = only === null && checkLengths.length > 0 ? 1 : 0;
  return checks + (only === 'gemlet' ? 0 : 2) + rounds * (only === null ? 2 : 1);
}

export interface EngineReport {
  readonly shape: TextShape;
  readonly settings: { readonly threads: number; readonly contextTokens: number };
  readonly plan: MeasurePlan;
  readonly agreement: readonly CheckedLength[];
  /** llama.cpp with flash attention on and off; the better one runs in the rounds. */
  readonly trials: readonly RunResult[];
  readonly rounds: readonly Round[];
}

export interface CheckedLength extends LogitAgreement {
  readonly promptTokens: number;
}

export interface Round {
  /** Which engine went first. */
  readonly first: 'gemlet' | 'llama';
  readonly gemlet: RunResult | null;
  readonly llama: RunResult | null;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Compares both engines on one shape: agreement, llama.cpp's better setting, then the rounds. */
export async function runEngineSuite(
  shape: TextShape,
  options: EngineSuiteOptions,
): Promise<EngineReport> {
  const { log, only } = options;
  const cacheFolder = resolve(options.cacheFolder);
  const toolFolder = join(cacheFolder, 'tools');
  if (only !== 'gemlet') ensureLlamaTool(toolFolder, log);
  const model = ensureBenchModel(cacheFolder, shape, log);
  const plan: MeasurePlan = { ...options.plan, vocabSize: shape.vocabSize };
  const settings = { threads: options.threads, contextTokens: options.contextTokens };
  const gemlet: EngineSpec = { type: 'gemlet', checkpoint: model.checkpoint };
  const llama = (flashAttention: boolean): EngineSpec => ({
    type: 'llama',
    toolFolder,
    gguf: model.gguf,
    flashAttention,
  });
  const time = (engine: EngineSpec): Promise<RunResult> =>
    options.run({ engine, settings, task: { type: 'measure', plan } });

  const agreement: CheckedLength[] = [];
  const trials: RunResult[] = [];
  const rounds: Round[] = [];
  const report = { shape, settings, plan, agreement, trials, rounds };
  if (only === null && options.checkLengths.length > 0) {
    log(`${shape.name}: comparing next-token probabilities`);
    agreement.push(...(await checkAgreement(shape, gemlet, llama(true), options)));
    options.onReport?.(report);
  }
  if (only !== 'gemlet') {
    for (const flashAttention of [true, false]) {
      log(`${shape.name}: trying llama.cpp, flash attention ${flashAttention ? 'on' : 'off'}`);
      trials.push(await time(llama(flashAttention)));
      options.onReport?.(report);
    }
  }
  const [on, off] = trials;
  const best = llama(on === undefined || off === undefined || cost(on) <= cost(off));
  for (let index = 0; index < options.rounds; index += 1) {
    // A B, B A, A B, ...: slow drift of the machine favours neither.
    const first = index % 2 === 0 ? 'gemlet' : 'llama';
    const order = first === 'gemlet' ? [gemlet, best] : [best, gemlet];
    const round: Mutable<Round> = { first, gemlet: null, llama: null };
    rounds.push(round);
    for (const engine of order) {
      if (only !== null && engine.type !== only) continue;
      log(`${shape.name}: round ${index + 1} of ${options.rounds}, ${engine.type}`);
      round[engine.type] = await time(engine);
      options.onReport?.(report);
    }
  }
  return report;
}

/** Sum of logarithms of times: lower is faster, no metric weighs more for being slow. */
function cost(result: RunResult): number {
  const { measurement } = result;
  if (measurement === null) return Infinity;
  const prefill = -Math.log(median(measurement.prefillTokensPerSecond));
  return measurement.decodeMs.reduce((sum, point) => sum + Math.log(point.ms), prefill);
}

async function checkAgreement(
  shape: TextShape,
  gemlet: EngineSpec,
  llama: EngineSpec,
  options: EngineSuiteOptions,
): Promise<CheckedLength[]> {
  const folder = mkdtempSync(join(tmpdir(), 'gemlet-bench-'));
  const { vocabSize } = shape;
  const settings = { threads: options.threads, contextTokens: options.contextTokens };
  const lengths = options.checkLengths;
  const collect = async (engine: EngineSpec): Promise<Float32Array> => {
    const path = join(folder, engine.type);
    await options.run({ engine, settings, task: { type: 'logits', lengths, vocabSize, path } });
    return new Float32Array(new Uint8Array(readFileSync(path)).buffer);
  };
  try {
    const ours = await collect(gemlet);
    const theirs = await collect(llama);
    return lengths.map((promptTokens, i) => {
      const from = i * vocabSize;
      const to = from + vocabSize;
      return { promptTokens, ...compareLogits(ours.subarray(from, to), theirs.subarray(from, to)) };
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
