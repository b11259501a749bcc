import type { ColdResult, ColdWay } from './cold-child.ts';
import { median } from './stats.ts';

export interface ColdRow {
  readonly size: string;
  /** Gbit/s */
  readonly rate: number;
  readonly way: ColdWay;
  /** What has to come over the link before the first token. */
  readonly bytes: number;
  readonly runs: readonly ColdResult[];
}

interface Settings {
  readonly promptTokens: number;
  readonly threads: number;
}

/** Medians of the rounds; the bound is bytes / bandwidth. */
export function formatCold(rows: readonly ColdRow[], settings: Settings): string {
  const lines = [
    `From the start of a process to the first token of ${settings.promptTokens}, ${settings.threads} threads, medians of ${rows[0]?.runs.length} runs`,
    '',
    '| model | Gbit/s | way | MB | bytes / bandwidth | last byte | first token | over the bound | weights filled + prepared, summed | peak RSS |',
    '|---|---|---|---|---|---|---|---|---|---|',
  ];
  for (const { size, rate, way, bytes, runs } of rows) {
    const boundMs = (bytes * 8) / (rate * 1e6);
    const of = (read: (run: ColdResult) => number): number => median(runs.map(read));
    const first = of((run) => run.firstTokenMs);
    const summed =
      way === 'llama'
        ? ''
        : `${seconds(of((run) => run.fillMs))} + ${seconds(of((run) => run.prepareMs))}`;
    lines.push(
      `| ${size} | ${rate} | ${way} | ${(bytes / 1e6).toFixed(0)} | ${seconds(boundMs)} | ${seconds(of((run) => run.bytesMs))} | ${seconds(first)} | ${(first / boundMs).toFixed(2)} | ${summed} | ${(of((run) => run.peakRssBytes) / 2 ** 20).toFixed(0)} MiB |`,
    );
  }
  return lines.join('\n');
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
