import type { EngineReport, Round } from './engine-suite.ts';
import type { ResultsHeader } from './results.ts';
import type { RunResult } from './runner.ts';
import { median, quantile } from './stats.ts';

/** One line of the comparison. */
interface Metric {
  readonly name: string;
  readonly unit: string;
  readonly value: (result: RunResult) => number;
  readonly higherIsBetter: boolean;
  /** Times and speeds have a ratio; memory is only shown. */
  readonly hasRatio: boolean;
}

export interface BenchReport extends ResultsHeader {
  readonly gemlet: string;
  readonly sizes: readonly EngineReport[];
}

/** The report as people read it: Markdown tables, raw numbers last. */
export function formatReport(report: BenchReport): string {
  const { machine } = report;
  const lines = [
    `gemlet ${report.gemlet} against llama.cpp, ${report.startedAt}`,
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node.js ${machine.node}, load ${machine.load} at the start`,
    `$ ${report.command}`,
    '',
  ];
  for (const size of report.sizes) lines.push(...formatSize(size), '');
  return lines.join('\n');
}

function formatSize(report: EngineReport): string[] {
  const { shape, plan, settings } = report;
  const lines = [
    `## ${shape.name}: random weights in ${shape.title}, ${settings.threads} threads, context ${settings.contextTokens}`,
    '',
  ];
  const label = (engine: 'gemlet' | 'llama'): string | undefined =>
    report.rounds.map((round) => round[engine]?.label).find((text) => text !== undefined);
  for (const text of [label('gemlet'), label('llama')]) if (text !== undefined) lines.push(text);
  lines.push(
    `Nothing is sampled. Prefill from empty, median of ${plan.prefillRepeats}; decode is the median of ${plan.decodeTokens} tokens.`,
    'Each run is a fresh process, one at a time; the order alternates from round to round.',
    'Ratio: gemlet / llama.cpp in speed, above 1 gemlet is faster; median [quartiles] of the rounds.',
    '',
    `| ${shape.name} | gemlet | llama.cpp | ratio |`,
    '|---|---|---|---|',
  );
  const metrics = metricsOf(report);
  for (const metric of metrics) lines.push(formatMetric(metric, report.rounds));
  const runs = [
    ...report.trials,
    ...report.rounds.flatMap((round) => [round.gemlet ?? [], round.llama ?? []].flat()),
  ];
  const busiest = Math.max(0, ...runs.map((run) => run.foreignCores));
  lines.push('', `Other processes kept up to ${busiest.toFixed(2)} cores busy during a run.`);
  if (busiest > QUIET_CORES) {
    lines.push('**The machine was not quiet: do not quote these numbers.**');
  }
  if (report.agreement.length > 0) {
    lines.push('', 'Next token, both engines on the same prompt and weights:');
    for (const check of report.agreement) {
      lines.push(
        `- ${check.promptTokens} tokens: ${check.sameTop ? 'same' : 'DIFFERENT'} top token, correlation of log probabilities ${check.correlation.toFixed(5)}, mean difference ${check.meanDifference.toFixed(3)}`,
      );
    }
  }
  lines.push('', 'Raw, in the order of the rounds:');
  for (const trial of report.trials) lines.push(`- trial, ${trial.label}: ${raw(metrics, trial)}`);
  report.rounds.forEach((round, index) => {
    for (const engine of round.first === 'gemlet' ? ORDER : ORDER.toReversed()) {
      const result = round[engine];
      if (result !== null) lines.push(`- round ${index + 1}, ${engine}: ${raw(metrics, result)}`);
    }
  });
  return lines;
}

/** Cores that others may use before a run says more about them than about the engines. */
const QUIET_CORES = 0.15;

const ORDER = ['gemlet', 'llama'] as const;

function metricsOf(report: EngineReport): Metric[] {
  const { plan } = report;
  const metrics: Metric[] = [
    {
      name: `prefill, ${plan.prefillTokens} tokens`,
      unit: 'tokens/s',
      value: (result) => median(result.measurement?.prefillTokensPerSecond ?? []),
      higherIsBetter: true,
      hasRatio: true,
    },
  ];
  plan.decodeContexts.forEach((context, index) => {
    metrics.push({
      name: `decode at ${context} tokens`,
      unit: 'ms/token',
      value: (result) => result.measurement?.decodeMs[index]?.ms ?? NaN,
      higherIsBetter: false,
      hasRatio: true,
    });
  });
  metrics.push(
    {
      name: 'load, files in the page cache',
      unit: 'ms',
      value: (result) => result.loadMs,
      higherIsBetter: false,
      hasRatio: true,
    },
    memory('resident after load', (result) => result.memoryAfterLoad.rssMiB),
    memory('of it mapped files', (result) => result.memoryAfterLoad.fileMiB),
    memory('peak resident', (result) => result.memoryAtEnd.peakMiB),
  );
  return metrics;
}

function memory(name: string, value: (result: RunResult) => number): Metric {
  return { name, unit: 'MiB', value, higherIsBetter: false, hasRatio: false };
}

function formatMetric(metric: Metric, rounds: readonly Round[]): string {
  const of = (engine: 'gemlet' | 'llama'): string => {
    const values = rounds.flatMap((round) => round[engine] ?? []).map(metric.value);
    return values.length === 0 ? '' : `${digits(median(values))} ${metric.unit}`;
  };
  const ratios = rounds.flatMap((round) => {
    if (round.gemlet === null || round.llama === null) return [];
    const ratio = metric.value(round.gemlet) / metric.value(round.llama);
    return [metric.higherIsBetter ? ratio : 1 / ratio];
  });
  const ratio =
    metric.hasRatio && ratios.length > 0
      ? `${median(ratios).toFixed(2)} [${quantile(ratios, 0.25).toFixed(2)}, ${quantile(ratios, 0.75).toFixed(2)}]`
      : '';
  return `| ${metric.name} | ${of('gemlet')} | ${of('llama')} | ${ratio} |`;
}

function raw(metrics: readonly Metric[], result: RunResult): string {
  const values = metrics.map((metric) => `${metric.name} ${digits(metric.value(result))}`);
  return `${values.join('; ')}; foreign cores ${result.foreignCores.toFixed(2)}`;
}

/** Three significant digits, whole numbers from 100 on. */
function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}
