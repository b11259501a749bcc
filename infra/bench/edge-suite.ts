import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { whole } from './arguments.ts';
import { edgeInputs, type EdgeInputs, readInputs, writeInputs } from './edge-inputs.ts';
import type { OverheadReport, PathRun } from './edge-overhead.ts';
import { measurePreparation, type PreparationReport } from './edge-preparation.ts';
import type { WorkerReport } from './edge-worker.ts';
import { recordResults } from './results.ts';
import { quantile } from './stats.ts';

export const EDGE_USAGE = `Usage: npm run bench -- edge [options]

What a gateway does before a replica computes: preparing a prompt of about 2,000 tokens, and the same
with a JPEG of 1280 x 853, in Node.js with a heap of 64 MB and in the built Worker in workerd; then what
a gateway and the Worker add to a replica with the demo model, in time to first text and in speed.
Run npm run build first.

  --rounds N          preparations of each kind; default 100
  --requests N        requests a path; default 60, 0 leaves that part out
  --vocabulary FILE   a compact vocabulary, as gemlet pack writes it; default: Gemma's own where the
                      tests fetched it, else the demo model's
  --help
`;

const HEAP_MB = 64;
const run = promisify(execFile);

export async function runEdge(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '100' },
      requests: { type: 'string', default: '60' },
      vocabulary: { type: 'string' },
      inputs: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(EDGE_USAGE);
    return;
  }
  const rounds = whole('--rounds', values.rounds, 1);
  const requests = whole('--requests', values.requests, 0);
  if (values.inputs !== undefined) {
    const report = await measurePreparation(readInputs(values.inputs), rounds);
    console.log(JSON.stringify(report));
    return;
  }
  const inputs = await edgeInputs(values.vocabulary);
  console.log(`Vocabulary: ${inputs.vocabulary}. JPEG: ${inputs.picture.length} bytes.`);
  const format = ({ node, worker, overhead }: EdgeResults): string =>
    [
      formatNode(node),
      ...(worker === null ? [] : [formatWorker(worker)]),
      ...(overhead === null ? [] : [formatOverhead(overhead)]),
    ].join('\n');
  await recordResults<EdgeResults>(
    { suite: 'edge', planned: requests > 0 ? 3 : 2, format },
    async (keep) => {
      const node = await inSmallHeap(inputs, values.rounds);
      let results: EdgeResults = { node, worker: null, overhead: null };
      keep(results);
      // Not before: the process above is to be small.
      const { measureWorker } = await import('./edge-worker.ts');
      results = { ...results, worker: await measureWorker(inputs, rounds) };
      keep(results);
      if (requests > 0) {
        const { measureOverhead } = await import('./edge-overhead.ts');
        results = { ...results, overhead: await measureOverhead(requests) };
        keep(results);
      }
      return results;
    },
  );
}

interface EdgeResults {
  readonly node: PreparationReport;
  readonly worker: WorkerReport | null;
  readonly overhead: OverheadReport | null;
}

/** In a process of its own, whose heap cannot grow beyond what an isolate has room for. */
async function inSmallHeap(inputs: EdgeInputs, rounds: string): Promise<PreparationReport> {
  const [, entry = ''] = process.argv;
  const folder = mkdtempSync(join(tmpdir(), 'gemlet-edge-'));
  try {
    writeInputs(folder, inputs);
    const args = [entry, 'edge', '--rounds', rounds, '--inputs', folder];
    const { stdout } = await run(process.execPath, [`--max-old-space-size=${HEAP_MB}`, ...args]);
    return JSON.parse(stdout) as PreparationReport;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function formatNode({ describeMs, startMb, text, picture }: PreparationReport): string {
  return [
    `Node.js, ${HEAP_MB} MB of heap, ${startMb.toFixed(0)} MB resident before; vocabulary read in ${describeMs.toFixed(0)} ms:`,
    `  text, ${text.tokens} tokens: ${times(text.ms)}, ${text.cpuMs.toFixed(1)} ms of processor time, first ${text.firstMs.toFixed(0)} ms, ${most(text.peakMb)}`,
    `  and a JPEG, ${picture.tokens} tokens: ${times(picture.ms)}, ${picture.cpuMs.toFixed(1)} ms of processor time, first ${picture.firstMs.toFixed(0)} ms, ${most(picture.peakMb)}`,
  ].join('\n');
}

function formatWorker({ startMs, idleMb, emptyMs, text, picture }: WorkerReport): string {
  return [
    `workerd, round trips over loopback; first of all ${startMs.toFixed(0)} ms, ${most(idleMb)}; that prepare nothing ${times(emptyMs)}:`,
    `  text: ${times(text.ms)}, first ${text.firstMs.toFixed(0)} ms, ${most(text.peakMb)}`,
    `  and a JPEG: ${times(picture.ms)}, first ${picture.firstMs.toFixed(0)} ms, ${most(picture.peakMb)}`,
  ].join('\n');
}

function formatOverhead({ replica, gateway, worker }: OverheadReport): string {
  const line = (name: string, path: PathRun): string =>
    `  ${name}: ${times(path.ttftMs)} to first text (+${added(path, replica)} ms in the median), ` +
    `${quantile(path.tokensPerSecond, 0.5).toFixed(0)} tokens/s of 4 streams`;
  return [
    'Demo model, all on this machine, requests in turn:',
    line('replica alone', replica),
    line('through gemlet gateway', gateway),
    line('through the Worker', worker),
  ].join('\n');
}

function added(path: PathRun, alone: PathRun): string {
  return (quantile(path.ttftMs, 0.5) - quantile(alone.ttftMs, 0.5)).toFixed(1);
}

function times(ms: readonly number[]): string {
  return `p50 ${quantile(ms, 0.5).toFixed(1)} ms, p99 ${quantile(ms, 0.99).toFixed(1)} ms`;
}

function most(peakMb: number | null): string {
  return peakMb === null ? 'memory unknown' : `${peakMb.toFixed(0)} MB at most`;
}
