import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { whole, wholes } from './arguments.ts';
import { promptWithImages } from './bench-images.ts';
import { formatBatch } from './batch-report.ts';
import type { BatchRound, BatchSettings, PartName, PartResult } from './batch-report.ts';
import { ensureBenchModel } from './bench-model.ts';
import { reportPart, runPart } from './fork-suite.ts';
import { createGemletStreams } from './gemlet-streams.ts';
import { createLlamaStreams } from './llama-streams.ts';
import { ensureLlamaTool } from './llama-tool.ts';
import { randomTokens } from './measure.ts';
import { recordResults } from './results.ts';
import { shapeOf } from './shapes.ts';
import type { TextShape } from './shapes.ts';
import { median } from './stats.ts';
import type { GapResult, StreamEngine } from './stream-engine.ts';
import { ensureVisionCheckpoint, IMAGES } from './vision-checkpoint.ts';

export const BATCH_USAGE = `Usage: npm run bench -- batch [options]

Many streams at once: tokens per second of all together, and the pauses of running streams while
long prompts and images arrive, beside llama.cpp's continuous batching on the same random weights.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --streams 1,2,4,8,16
  --rounds N        pairs of runs a size; default 4
  --decode N        tokens each stream is timed over; default 48
  --arriving N      tokens of the prompts that arrive; default 8192, 0 leaves that part out
  --arrivals N      how many arrive, one after the other; default 2
  --images N        images that arrive, one a prompt, at gemlet only; default 2, 0 leaves them out
  --threads N       default 2
`;

const CACHE = resolve('.cache/bench');
const TOOLS = resolve('.cache/bench/tools');
const PROMPT_TOKENS = 128;
const RUNNING_STREAMS = 4;
/** Room for what running streams say while prompts arrive. */
const STREAM_TOKENS = 1024;
/** The same while images are encoded, which holds no stream up. */
const IMAGE_STREAM_TOKENS = 4096;
/** Text before and after an image. */
const AROUND_IMAGE_TOKENS = 32;

export async function runBatch(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      streams: { type: 'string', default: '1,2,4,8,16' },
      rounds: { type: 'string', default: '4' },
      decode: { type: 'string', default: '48' },
      arriving: { type: 'string', default: '8192' },
      arrivals: { type: 'string', default: '2' },
      images: { type: 'string', default: '2' },
      threads: { type: 'string', default: '2' },
      part: { type: 'string' },
    },
  });
  if (values.part !== undefined) {
    const { part, settings } = JSON.parse(values.part) as Part;
    await reportPart(() => measurePart(part, settings));
    return;
  }
  const shapes = values.sizes.split(',').map(shapeOf);
  const rounds = whole('--rounds', values.rounds);
  const common = {
    streams: wholes('--streams', values.streams),
    decodeTokens: whole('--decode', values.decode),
    arriving: whole('--arriving', values.arriving, 0),
    arrivals: whole('--arrivals', values.arrivals),
    images: whole('--images', values.images, 0),
    threads: whole('--threads', values.threads),
  };
  ensureLlamaTool(TOOLS, console.error);
  await recordResults<readonly BatchResult[]>(
    {
      suite: 'batch',
      planned: shapes.length * (2 + 2 * rounds),
      format: (results) =>
        results
          .filter((result) => result.rounds.length > 0)
          .map((result) => formatBatch(result.settings, result.rounds))
          .join('\n\n'),
    },
    async (keep) => {
      const results: BatchResult[] = [];
      for (const shape of shapes) {
        ensureBenchModel(CACHE, shape, console.error);
        const settings = { size: shape.name, ...common };
        const onResult = (result: BatchResult): void => keep([...results, result]);
        results.push(await runRounds(settings, rounds, onResult));
      }
      return results;
    },
  );
}

interface BatchResult {
  readonly settings: BatchSettings;
  readonly trials: readonly PartResult[];
  readonly rounds: readonly BatchRound[];
  /** The first run of a round whose second has not ended yet. */
  readonly unpaired?: PartResult;
}

interface Part {
  readonly part: PartName;
  readonly settings: BatchSettings;
}

function runInProcess(part: PartName, settings: BatchSettings): Promise<PartResult> {
  return runPart(['batch', '--part', JSON.stringify({ part, settings } satisfies Part)]);
}

async function runRounds(
  settings: BatchSettings,
  count: number,
  onResult: (soFar: BatchResult) => void,
): Promise<BatchResult> {
  const trials: PartResult[] = [];
  const rounds: BatchRound[] = [];
  for (const part of ['llama-flash', 'llama-plain'] as const) {
    console.error(`${settings.size}: trying ${part}`);
    trials.push(await runInProcess(part, { ...settings, arriving: 0, images: 0 }));
    onResult({ settings, trials, rounds });
  }
  const [flash, plain] = trials as [PartResult, PartResult];
  const llama = betterOf(flash, plain) === flash ? 'llama-flash' : 'llama-plain';
  for (let round = 0; round < count; round++) {
    // A B, B A: slow drift of the machine favours neither.
    const parts = round % 2 === 0 ? (['gemlet', llama] as const) : ([llama, 'gemlet'] as const);
    const run = (part: PartName): Promise<PartResult> => {
      console.error(`${settings.size}: round ${round + 1} of ${count}, ${part}`);
      return runInProcess(part, settings);
    };
    const first = await run(parts[0]);
    onResult({ settings, trials, rounds, unpaired: first });
    const second = await run(parts[1]);
    const isOursFirst = parts[0] === 'gemlet';
    rounds.push({
      gemlet: isOursFirst ? first : second,
      llama: isOursFirst ? second : first,
    });
    onResult({ settings, trials, rounds });
  }
  return { settings, trials, rounds };
}

/** The faster at most numbers of streams. */
export function betterOf(a: PartResult, b: PartResult): PartResult {
  const ratios = a.tokensPerSecond.map((speed, at) => speed / (b.tokensPerSecond[at] ?? 0));
  return median(ratios) >= 1 ? a : b;
}

async function measurePart(part: PartName, settings: BatchSettings): Promise<PartResult> {
  const shape = shapeOf(settings.size);
  const { checkpoint, gguf } = ensureBenchModel(CACHE, shape, console.error);
  const flashAttention = part === 'llama-flash';
  const open: OpenStreams = async (rowCount, contextTokens, folder = checkpoint) => {
    const common = { threads: settings.threads, rowCount, contextTokens };
    return part === 'gemlet'
      ? createGemletStreams({ ...common, checkpoint: folder, kvBudgetBytes: 0 })
      : createLlamaStreams({ ...common, toolFolder: TOOLS, gguf, flashAttention });
  };
  const { label, speeds } = await measureSpeeds(settings, shape, open);
  const alone = settings.streams.includes(1) ? await measureAlone(settings, shape, open) : null;
  const isOurs = part === 'gemlet';
  return {
    label,
    tokensPerSecond: speeds,
    aloneTokensPerSecond: alone,
    textGaps: settings.arriving === 0 ? null : await measureTextGaps(settings, shape, open),
    imageGaps:
      settings.images > 0 && isOurs
        ? await measureImageGaps(settings, shape, (rows, context) =>
            open(rows, context, ensureVisionCheckpoint(checkpoint, shape)),
          )
        : null,
  };
}

type OpenStreams = (
  rowCount: number,
  contextTokens: number,
  checkpoint?: string,
) => Promise<StreamEngine>;

/** All numbers of streams in one engine with a row for each of the most, as a server has it. */
async function measureSpeeds(
  settings: BatchSettings,
  shape: TextShape,
  open: OpenStreams,
): Promise<{ readonly label: string; readonly speeds: readonly number[] }> {
  const { streams, decodeTokens } = settings;
  const engine = await open(Math.max(...streams), STREAM_TOKENS);
  const speeds: number[] = [];
  for (const count of streams) {
    speeds.push(await engine.throughput(promptsOf(count, shape), decodeTokens));
  }
  await engine.close();
  return { label: engine.label, speeds };
}

/** One stream where no other could come: nothing is computed beside it. */
async function measureAlone(
  settings: BatchSettings,
  shape: TextShape,
  open: OpenStreams,
): Promise<number> {
  const engine = await open(1, STREAM_TOKENS);
  const speed = await engine.throughput(promptsOf(1, shape), settings.decodeTokens);
  await engine.close();
  return speed;
}

async function measureTextGaps(
  { arriving, arrivals }: BatchSettings,
  shape: TextShape,
  open: OpenStreams,
): Promise<GapResult> {
  const engine = await open(RUNNING_STREAMS + 1, arriving + STREAM_TOKENS);
  const prompts = Array.from({ length: arrivals }, (_, at) => ({
    tokens: randomTokens(`arrival ${at}`, arriving, shape.vocabSize),
    images: [],
  }));
  const gaps = await engine.gaps(promptsOf(RUNNING_STREAMS, shape), prompts);
  await engine.close();
  return gaps;
}

async function measureImageGaps(
  { images }: BatchSettings,
  shape: TextShape,
  open: OpenStreams,
): Promise<GapResult> {
  const engine = await open(RUNNING_STREAMS + 1, IMAGE_STREAM_TOKENS);
  const arrival = (seed: string) =>
    promptWithImages(seed, 1, AROUND_IMAGE_TOKENS, { ...IMAGES, vocabSize: shape.vocabSize });
  // The first image of a process also loads the tower.
  await engine.gaps(promptsOf(1, shape), [arrival('warm-up')]);
  const arrivals = Array.from({ length: images }, (_, at) => arrival(`arrival ${at}`));
  const gaps = await engine.gaps(promptsOf(RUNNING_STREAMS, shape), arrivals);
  await engine.close();
  return gaps;
}

function promptsOf(count: number, { vocabSize }: TextShape): Int32Array[] {
  return Array.from({ length: count }, (_, at) =>
    randomTokens(`stream ${at} of ${count}`, PROMPT_TOKENS, vocabSize),
  );
}
