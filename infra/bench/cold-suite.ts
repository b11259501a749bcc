import { existsSync, linkSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { createFolderStore } from '../../adapters/node/folder-store.ts';
import { MANIFEST_KEY, readManifest } from '../../src/bundle/manifest.ts';
import { packCheckpoint } from '../../src/bundle/pack.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { whole, wholes } from './arguments.ts';
import { ensureBenchModel } from './bench-model.ts';
import type { ColdResult, ColdTask, ColdWay } from './cold-child.ts';
import { formatCold, type ColdRow } from './cold-report.ts';
import { reportPart, runPart } from './fork-suite.ts';
import { serveLink, withLink } from './link-process.ts';
import { ensureLlamaTool } from './llama-tool.ts';
import { recordResults } from './results.ts';
import { shapeOf } from './shapes.ts';
import type { TextShape } from './shapes.ts';

export const COLD_USAGE = `Usage: npm run bench -- cold [options]

From the start of a process to the first token of a prompt, with the model behind a link of so many
Gbit/s: streamed and used as it comes, downloaded first, and llama.cpp the same way.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --rates 1,3,10    Gbit/s
  --rounds N        default 3
  --prompt N        tokens; default 200
  --threads N       default 2
  --ways streamed,downloaded,llama

The store runs in a process of its own on the same machine and takes processor time too.
`;

const CACHE = resolve('.cache/bench');
const TOOLS = resolve('.cache/bench/tools');
const CONTEXT_TOKENS = 1024;
const WAYS: readonly ColdWay[] = ['streamed', 'downloaded', 'llama'];

export async function runColdSuite(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      rates: { type: 'string', default: '1,3,10' },
      rounds: { type: 'string', default: '3' },
      prompt: { type: 'string', default: '200' },
      threads: { type: 'string', default: '2' },
      ways: { type: 'string', default: WAYS.join(',') },
      part: { type: 'string' },
      serve: { type: 'string' },
    },
  });
  if (values.serve !== undefined) return serveLink(values.serve);
  if (values.part !== undefined) {
    const task = JSON.parse(values.part) as ColdTask;
    const { runCold } = await import('./cold-child.ts');
    return reportPart(() => runCold(task));
  }
  const ways = WAYS.filter((way) => values.ways.split(',').includes(way));
  if (ways.includes('llama')) ensureLlamaTool(TOOLS, console.error);
  const common = {
    toolFolder: TOOLS,
    promptTokens: whole('--prompt', values.prompt),
    contextTokens: CONTEXT_TOKENS,
    threads: whole('--threads', values.threads),
  };
  const rounds = whole('--rounds', values.rounds);
  const shapes = values.sizes.split(',').map(shapeOf);
  const rates = wholes('--rates', values.rates);
  await recordResults<readonly ColdRow[]>(
    {
      suite: 'cold',
      planned: shapes.length * rates.length * ways.length * rounds,
      format: (rows) => formatCold(rows, common),
    },
    async (keep) => {
      const rows: ColdRow[] = [];
      for (const shape of shapes) {
        const bundle = await ensureBundle(shape);
        const task = { ...common, vocabSize: shape.vocabSize };
        for (const rate of rates) {
          for (const way of ways) {
            const runs: ColdResult[] = [];
            const bytes = way === 'llama' ? bundle.ggufBytes : bundle.bytes;
            for (let round = 0; round < rounds; round++) {
              console.error(`${shape.name}: ${rate} Gbit/s, ${way}, ${round + 1} of ${rounds}`);
              runs.push(await overLink(bundle.folder, rate, { ...task, way }));
              if (round === 0) rows.push({ size: shape.name, rate, way, bytes, runs });
              keep(rows);
            }
          }
        }
      }
      return rows;
    },
  );
}

interface ColdBundle {
  readonly folder: string;
  /** What the first token needs. */
  readonly bytes: number;
  readonly ggufBytes: number;
}

/** The random model as a bundle, with llama.cpp's file beside it. */
async function ensureBundle(shape: TextShape): Promise<ColdBundle> {
  const model = ensureBenchModel(CACHE, shape, console.error);
  const folder = join(CACHE, shape.name, 'bundle');
  if (!existsSync(join(folder, MANIFEST_KEY))) {
    console.error(`${shape.name}: packing`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const source = createFolderSource(model.checkpoint);
    const checkpoint = await openCheckpoint(source);
    const store = createFolderStore(folder);
    // Random weights come without a tokenizer.
    await packCheckpoint({ checkpoint, source, store, buildVocabulary: asItIs });
    await store.close();
    await checkpoint.close();
  }
  const gguf = join(folder, 'model.gguf');
  if (!existsSync(gguf)) linkSync(model.gguf, gguf);
  const source = createFolderSource(folder);
  const manifest = await readManifest(source);
  const info = await source.head('model.gguf');
  await source.close();
  return {
    folder,
    bytes: manifest?.decoder.sizeBytes ?? 0,
    ggufBytes: info?.sizeBytes ?? 0,
  };
}

function overLink(
  folder: string,
  gigabits: number,
  task: Omit<ColdTask, 'origin'>,
): Promise<ColdResult> {
  return withLink(folder, gigabits, (origin) =>
    runPart<ColdResult>(['cold', '--part', JSON.stringify({ ...task, origin })]),
  );
}

async function asItIs(tokenizerJson: Uint8Array): Promise<Uint8Array> {
  return tokenizerJson;
}
