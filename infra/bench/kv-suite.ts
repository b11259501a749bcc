import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { whole, wholes } from './arguments.ts';
import { ensureBenchModel } from './bench-model.ts';
import { reportPart, runPart } from './fork-suite.ts';
import { openGemletEngine } from './gemlet-streams.ts';
import { formatKv } from './kv-report.ts';
import type {
  ForkResult,
  HistoryResult,
  ImageResult,
  KvResults,
  KvSettings,
  LlamaTurns,
} from './kv-report.ts';
import { createLlamaEngine } from './llama-engine.ts';
import { ensureLlamaTool } from './llama-tool.ts';
import { measureForks, measureHistory, measureImages } from './measure-kv.ts';
import { randomTokens } from './measure.ts';
import { recordResults } from './results.ts';
import { shapeOf } from './shapes.ts';
import type { TextShape } from './shapes.ts';
import { ensureVisionCheckpoint, IMAGES } from './vision-checkpoint.ts';

export const KV_USAGE = `Usage: npm run bench -- kv [options]

What a second turn costs: its time to the first token beside the first turn's, from a warm row, from
pages in host memory, and computed again; with images; and four requests at once that share a
prompt. llama.cpp's second turn stands beside it, with its own cache kept.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --history 2048,8192
  --forks N         requests that share the shortest history; default 4, 0 leaves them out
  --images N        images of a conversation; default 2, 0 leaves that part out
  --only ENGINE     gemlet or llama alone
  --threads N       default 2
`;

const CACHE = resolve('.cache/bench');
const TOOLS = resolve('.cache/bench/tools');
const BUDGET_BYTES = 8 * 2 ** 30;
const ANSWER_TOKENS = 16;
const NEW_TOKENS = 32;
/** Room for three turns after the longest history. */
const TURNS_TOKENS = 256;

export async function runKv(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      history: { type: 'string', default: '2048,8192' },
      forks: { type: 'string', default: '4' },
      images: { type: 'string', default: '2' },
      only: { type: 'string' },
      threads: { type: 'string', default: '2' },
      part: { type: 'string' },
    },
  });
  if (values.part !== undefined) {
    const { part, settings } = JSON.parse(values.part) as Part;
    await reportPart(() => PARTS[part](settings, shapeOf(settings.size)));
    return;
  }
  const { only = null } = values;
  if (only !== null && only !== 'gemlet' && only !== 'llama') {
    throw new RangeError(`--only takes gemlet or llama, not '${only}'`);
  }
  const shapes = values.sizes.split(',').map(shapeOf);
  const common = {
    history: wholes('--history', values.history),
    forks: whole('--forks', values.forks, 0),
    images: whole('--images', values.images, 0),
    threads: whole('--threads', values.threads),
    answerTokens: ANSWER_TOKENS,
    newTokens: NEW_TOKENS,
  };
  if (only !== 'gemlet') ensureLlamaTool(TOOLS, console.error);
  const isOurs = only !== 'llama';
  const parts = PART_NAMES.filter((part) => {
    if (part === 'llama') return only !== 'gemlet';
    if (part === 'histories') return isOurs;
    return isOurs && common[part] > 0;
  });
  await recordResults<readonly KvSuiteResult[]>(
    {
      suite: 'kv',
      planned: shapes.length * parts.length,
      format: (results) =>
        results.map(({ settings, ...result }) => formatKv(settings, result)).join('\n\n'),
    },
    async (keep) => {
      const results: KvSuiteResult[] = [];
      for (const shape of shapes) {
        ensureBenchModel(CACHE, shape, console.error);
        const settings = { size: shape.name, ...common };
        let result: KvSuiteResult = { settings, ...NOTHING_YET };
        for (const part of parts) {
          console.error(`${shape.name}: ${part}`);
          const task = JSON.stringify({ part, settings } satisfies Part);
          result = { ...result, [part]: await runPart(['kv', '--part', task]) };
          keep([...results, result]);
        }
        results.push(result);
      }
      return results;
    },
  );
}

type KvSuiteResult = { readonly settings: KvSettings } & KvResults;

const NOTHING_YET: KvResults = { histories: [], forks: null, images: null, llama: [] };
/** In the order in which they run. */
const PART_NAMES = ['histories', 'forks', 'images', 'llama'] as const;

interface Part {
  readonly part: keyof typeof PARTS;
  readonly settings: KvSettings;
}

/** Each in a process of its own. */
const PARTS = {
  /** One row, so that any other request takes it. */
  histories: async (settings: KvSettings, shape: TextShape): Promise<HistoryResult[]> => {
    const opened = await openFor(settings, shape, 1);
    const results: HistoryResult[] = [];
    for (const history of settings.history) {
      results.push(await measureHistory(opened, settings, history));
    }
    await opened.close();
    return results;
  },
  forks: async (settings: KvSettings, shape: TextShape): Promise<ForkResult> => {
    const opened = await openFor(settings, shape, settings.forks);
    const result = await measureForks(opened.engine, settings);
    await opened.close();
    return result;
  },
  images: async (settings: KvSettings, shape: TextShape): Promise<ImageResult> => {
    const opened = await openFor(settings, shape, 1, true);
    const result = await measureImages(opened.engine, settings);
    await opened.close();
    return result;
  },
  llama: measureLlama,
} as const;

function openFor(
  settings: KvSettings,
  shape: TextShape,
  rowCount: number,
  withImages = false,
): ReturnType<typeof openGemletEngine> {
  const { checkpoint } = ensureBenchModel(CACHE, shape, console.error);
  return openGemletEngine({
    checkpoint: withImages ? ensureVisionCheckpoint(checkpoint, shape) : checkpoint,
    threads: settings.threads,
    rowCount,
    contextTokens: longestPrompt(settings) + TURNS_TOKENS,
    kvBudgetBytes: BUDGET_BYTES,
  });
}

function longestPrompt({ history, images, newTokens }: KvSettings): number {
  return Math.max(...history, newTokens + images * (IMAGES.tokensPerImage + newTokens));
}

/** The same turns in a sequence that nobody takes: what is new is computed after what is there. */
async function measureLlama(settings: KvSettings, shape: TextShape): Promise<LlamaTurns[]> {
  const { gguf } = ensureBenchModel(CACHE, shape, console.error);
  const engine = createLlamaEngine({
    toolFolder: TOOLS,
    gguf,
    flashAttention: true,
    threads: settings.threads,
    contextTokens: Math.max(...settings.history) + TURNS_TOKENS,
  });
  const timed = async (tokens: Int32Array): Promise<number> => {
    const startedMs = performance.now();
    await engine.extend(tokens);
    return performance.now() - startedMs;
  };
  const more = (seed: string, count: number): Int32Array =>
    randomTokens(seed, count, shape.vocabSize);
  await engine.extend(more('warm-up', 64));
  const turns: LlamaTurns[] = [];
  for (const history of settings.history) {
    engine.reset();
    const firstMs = await timed(more(`history ${history}`, history));
    for (let at = 0; at < settings.answerTokens; at++) await engine.extend(more(`answer ${at}`, 1));
    const secondMs = await timed(more(`second ${history}`, settings.newTokens));
    turns.push({ label: engine.label, history, firstMs, secondMs });
  }
  await engine.close();
  return turns;
}
