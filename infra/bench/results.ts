import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { killDescendants } from './children.ts';
import { describeMachine } from './machine.ts';
import type { Machine } from './machine.ts';

/** What every suite's file begins with. */
export interface ResultsHeader {
  readonly suite: string;
  /** ISO 8601 */
  readonly startedAt: string;
  readonly command: string;
  /** As it was when the run began. */
  readonly machine: Machine;
}

export interface RecordedRun<T> {
  readonly suite: string;
  /** How many results are kept in a run that nothing stops. */
  readonly planned: number;
  /** The results as people read them, of a run that is over or was stopped. */
  readonly format: (results: T, header: ResultsHeader) => string;
  /** The file's content; default: the header and `results`. */
  readonly toReport?: (results: T, header: ResultsHeader) => object;
}

const FOLDER = 'bench-results';
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs a suite and writes `bench-results/<suite>-<time>.json`. The file is whole at any moment and has
 * every result that was kept; `partial` in it says how many of them there are until the run is over. A
 * signal or an error prints what was measured so far, and leaves no process behind.
 * @param measure calls `keep` with all results so far whenever there is one more
 */
export async function recordResults<T>(
  { suite, planned, format, toReport = withResults }: RecordedRun<T>,
  measure: (keep: (results: T) => void) => Promise<T>,
): Promise<T> {
  const startedAt = new Date().toISOString();
  const command = `npm run bench -- ${process.argv.slice(2).join(' ')}`;
  const header: ResultsHeader = { suite, startedAt, command, machine: describeMachine() };
  const path = join(FOLDER, `${suite}-${startedAt.replaceAll(':', '-')}.json`);
  let soFar: { readonly results: T } | null = null;
  let kept = 0;

  function write(results: T, reason: string | null): void {
    mkdirSync(FOLDER, { recursive: true });
    const partial = reason === null ? {} : { partial: { kept, planned, reason } };
    const report = { ...toReport(results, header), ...partial };
    writeFileSync(`${path}.part`, JSON.stringify(report, null, 2));
    renameSync(`${path}.part`, path);
  }

  function breakOff(reason: string): void {
    killDescendants();
    if (soFar === null) {
      console.log(`PARTIAL (${reason}): nothing was measured yet`);
      return;
    }
    write(soFar.results, reason);
    console.log(format(soFar.results, header));
    console.log(`PARTIAL (${reason}): ${kept} of ${planned} measured, ${planned - kept} left out`);
    console.log(`written to ${path}`);
  }

  function onSignal(signal: NodeJS.Signals): void {
    breakOff(signal);
    process.exit(128 + constants.signals[signal]);
  }

  for (const signal of SIGNALS) process.once(signal, onSignal);
  try {
    const results = await measure((some) => {
      soFar = { results: some };
      kept++;
      write(some, 'still running');
    });
    write(results, null);
    console.log(format(results, header));
    console.log(`written to ${path}`);
    return results;
  } catch (error) {
    breakOff(error instanceof Error ? error.message : String(error));
    throw error;
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal);
  }
}

function withResults(results: unknown, header: ResultsHeader): object {
  return { ...header, results };
}
