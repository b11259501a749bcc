import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { convertFlaxToBundle, convertFlaxToFolder } from '../../adapters/node/convert-flax.ts';
import { createFolderStore } from '../../adapters/node/folder-store.ts';
import { whole } from './arguments.ts';
import { ensureFlaxCheckpoint, SHAPE_27B, unpackedBytes } from './flax-checkpoint.ts';
import { reportPart, runPart } from './fork-suite.ts';
import { readProcessMemory } from './machine.ts';
import { recordResults } from './results.ts';

export const CONVERT_USAGE = `Usage: npm run bench -- convert [options]

Converts a part of a random Gemma 3 27B in Flax (fp32 on the int4 grid, one chunk an array, zstd where
this Node.js can write it), and says what the whole model would take.

  --layers N        default 1: 1.65 GB
  --rows N          of the table; default 16384: 0.35 GB
  --formats awq,bundle
  --threads N       default 2
  --keep            leave the checkpoint in .cache/bench for the next run
`;

const CACHE = resolve('.cache/bench/convert');
const FORMATS = ['awq', 'bundle'] as const;

interface Task {
  readonly format: (typeof FORMATS)[number];
  readonly threads: number;
}

interface Result {
  readonly elapsedMs: number;
  readonly storedBytes: number;
  readonly peakMiB: number;
}

export async function runConvert(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      layers: { type: 'string', default: '1' },
      rows: { type: 'string', default: '16384' },
      formats: { type: 'string', default: FORMATS.join(',') },
      threads: { type: 'string', default: '2' },
      keep: { type: 'boolean', default: false },
      part: { type: 'string' },
    },
  });
  if (values.part !== undefined) {
    const task = JSON.parse(values.part) as Task;
    return reportPart(() => measure(task));
  }
  const part = { layers: whole('--layers', values.layers), rows: whole('--rows', values.rows) };
  const formats = FORMATS.filter((format) => values.formats.split(',').includes(format));
  const threads = whole('--threads', values.threads);
  try {
    console.error(`writing ${gigabytes(unpackedBytes(part))} of random weights`);
    const isCompressed = await ensureFlaxCheckpoint(join(CACHE, 'source'), part);
    writeConfig(part);
    await recordResults<readonly (Task & Result)[]>(
      {
        suite: 'convert',
        planned: formats.length,
        format: (results) => formatConvert(results, unpackedBytes(part), isCompressed),
        toReport: (results, header) => ({ ...header, results: { part, isCompressed, results } }),
      },
      async (keep) => {
        const results: (Task & Result)[] = [];
        for (const format of formats) {
          console.error(`converting to ${format}`);
          rmSync(join(CACHE, 'out'), { recursive: true, force: true });
          const task = { format, threads };
          const result = await runPart<Result>(['convert', '--part', JSON.stringify(task)]);
          results.push({ ...task, ...result });
          keep(results);
        }
        return results;
      },
    );
  } finally {
    rmSync(join(CACHE, values.keep ? 'out' : '.'), { recursive: true, force: true });
  }
}

/** A part of a model is none of the known sizes. */
function writeConfig({ layers, rows }: { readonly layers: number; readonly rows: number }): void {
  const { hidden, heads, kvHeads, headDim, inner } = SHAPE_27B;
  mkdirSync(join(CACHE, 'config'), { recursive: true });
  const config = {
    model_type: 'gemma3_text',
    architectures: ['Gemma3ForCausalLM'],
    torch_dtype: 'bfloat16',
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    query_pre_attn_scalar: 168,
    sliding_window: 1024,
    vocab_size: rows,
  };
  writeFileSync(join(CACHE, 'config', 'config.json'), JSON.stringify(config));
}

async function measure({ format, threads }: Task): Promise<Result> {
  let storedBytes = 0;
  const options = {
    location: join(CACHE, 'source'),
    token: null,
    tokenizerFolder: null,
    configFolder: join(CACHE, 'config'),
    threads,
    onProgress: (_: number, total: number): void => {
      storedBytes = total;
    },
  };
  const out = join(CACHE, 'out');
  const startMs = performance.now();
  if (format === 'awq') await convertFlaxToFolder({ ...options, folder: out });
  else {
    const store = createFolderStore(out);
    await convertFlaxToBundle({ ...options, store, onPart: () => undefined });
    await store.close();
  }
  const elapsedMs = performance.now() - startMs;
  return { elapsedMs, storedBytes, peakMiB: readProcessMemory().peakMiB };
}

function formatConvert(
  results: readonly (Task & Result)[],
  bytes: number,
  isCompressed: boolean,
): string {
  const wholeBytes = unpackedBytes({ layers: SHAPE_27B.layers, rows: SHAPE_27B.rows });
  const lines = [
    `${gigabytes(bytes)} of fp32 (${isCompressed ? 'zstd level 1' : 'not compressed'}), Node.js ${process.version}; the text model of a 27B has ${gigabytes(wholeBytes)}`,
    '',
    '| to | threads | stored | time | fp32 a second | peak RSS | a 27B by this rate |',
    '|---|---|---|---|---|---|---|',
  ];
  for (const { format, threads, elapsedMs, storedBytes, peakMiB } of results) {
    const seconds = elapsedMs / 1000;
    const minutes = (seconds * wholeBytes) / bytes / 60;
    lines.push(
      `| ${format} | ${threads} | ${gigabytes(storedBytes)} | ${seconds.toFixed(1)} s | ${(bytes / 1e6 / seconds).toFixed(0)} MB | ${peakMiB} MiB | ${minutes.toFixed(0)} min |`,
    );
  }
  return lines.join('\n');
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
