import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureBenchModel } from './bench-model.ts';
import { reportPart, runPart, writeResults } from './fork-suite.ts';
import { createGemletStreams } from './gemlet-streams.ts';
import { createLlamaStreams } from './llama-streams.ts';
import { ensureLlamaTool } from './llama-tool.ts';
import { randomTokens } from './measure.ts';
import { shapeOf } from './shapes.ts';
import { median, quantile } from './stats.ts';
import type { GapResult, StreamEngine } from './stream-engine.ts';

export const BATCH_USAGE = `Usage: npm run bench -- batch [options]

Many streams at once: tokens per second of all together, and the pauses of running streams while a
long prompt arrives, beside llama.cpp's continuous batching on the same random weights.

  --sizes 1b        sizes to run: 1b, 4b, mini
  --streams 1,2,4,8,16
  --rounds N        pairs of runs a size; default 2
  --arriving N      tokens of the prompt that arrives; default 8192, 0 leaves that part out
  --threads N       default 2
`;

/** The time budget of prompts beside running streams, as the engine has it by default. */
const BUDGET_MS = 250;
const PROMPT_TOKENS = 128;
const DECODE_TOKENS = 48;
const RUNNING_STREAMS = 4;

interface PartResult {
  readonly label: string;
  /** By number of streams. */
  readonly tokensPerSecond: readonly number[];
  readonly gaps: GapResult | null;
}

interface Settings {
  readonly size: string;
  readonly streams: readonly number[];
  readonly arriving: number;
  readonly threads: number;
}

export async function runBatch(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sizes: { type: 'string', default: '1b' },
      streams: { type: 'string', default: '1,2,4,8,16' },
      rounds: { type: 'string', default: '2' },
      arriving: { type: 'string', default: '8192' },
      threads: { type: 'string', default: '2' },
      part: { type: 'string' },
    },
  });
  const settingsOf = (size: string): Settings => ({
    size,
    streams: values.streams.split(',').map(Number),
    arriving: Number(values.arriving),
    threads: Number(values.threads),
  });
  if (values.part !== undefined) {
    await reportPart(await measurePart(values.part, settingsOf(values.sizes)));
    return;
  }
  const results = [];
  for (const size of values.sizes.split(',')) {
    const settings = settingsOf(size);
    ensureLlamaTool(toolFolder(), console.error);
    ensureBenchModel(resolve('.cache/bench'), shapeOf(size), console.error);
    const rounds: Record<'gemlet' | 'llama', PartResult>[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      // A B, B A: slow drift of the machine favours neither.
      const order = round % 2 === 0 ? ['gemlet', 'llama'] : ['llama', 'gemlet'];
      const measured: Partial<Record<string, PartResult>> = {};
      for (const part of order) {
        console.error(`${size}: round ${round + 1}, ${part}`);
        const own = args.filter((_, at) => args[at] !== '--sizes' && args[at - 1] !== '--sizes');
        measured[part] = await runPart<PartResult>([
          'batch',
          ...own,
          '--sizes',
          size,
          '--part',
          part,
        ]);
      }
      rounds.push(measured as Record<'gemlet' | 'llama', PartResult>);
    }
    console.log(tableOf(settings, rounds));
    results.push({ settings, rounds });
  }
  console.log(`written to ${writeResults('batch', results)}`);
}

const toolFolder = (): string => resolve('.cache/bench/tools');

async function measurePart(part: string, settings: Settings): Promise<PartResult> {
  const shape = shapeOf(settings.size);
  const model = ensureBenchModel(resolve('.cache/bench'), shape, console.error);
  const most = Math.max(...settings.streams, settings.arriving > 0 ? RUNNING_STREAMS + 1 : 0);
  const open = (rowCount: number, contextTokens: number): Promise<StreamEngine> => {
    const common = { threads: settings.threads, rowCount, contextTokens };
    return part === 'gemlet'
      ? createGemletStreams({ ...common, checkpoint: model.checkpoint, kvBudgetBytes: 0 })
      : createLlamaStreams({
          ...common,
          toolFolder: toolFolder(),
          gguf: model.gguf,
          flashAttention: true,
        });
  };
  const prompts = (count: number): Int32Array[] =>
    Array.from({ length: count }, (_, at) =>
      randomTokens(`stream ${at} of ${count}`, PROMPT_TOKENS, shape.vocabSize),
    );
  const tokensPerSecond: number[] = [];
  const engine = await open(most, 1024);
  const { label } = engine;
  for (const count of settings.streams) {
    tokensPerSecond.push(await engine.throughput(prompts(count), DECODE_TOKENS));
  }
  await engine.close();
  if (settings.arriving === 0) return { label, tokensPerSecond, gaps: null };
  const second = await open(RUNNING_STREAMS + 1, settings.arriving + 1024);
  const arriving = randomTokens('arriving', settings.arriving, shape.vocabSize);
  const gaps = await second.gaps(prompts(RUNNING_STREAMS), arriving);
  await second.close();
  return { label, tokensPerSecond, gaps };
}

function tableOf(
  settings: Settings,
  rounds: readonly Record<'gemlet' | 'llama', PartResult>[],
): string {
  const lines = [
    `${settings.size}: ${rounds[0]?.gemlet.label} beside ${rounds[0]?.llama.label}`,
    'streams | gemlet tok/s | llama.cpp tok/s | ratio of each round | gemlet over its 1 stream',
  ];
  const speeds = (part: 'gemlet' | 'llama', at: number): number[] =>
    rounds.map((round) => round[part].tokensPerSecond[at] ?? 0);
  for (const [at, count] of settings.streams.entries()) {
    const [ours, theirs] = [speeds('gemlet', at), speeds('llama', at)];
    const ratios = ours.map((speed, round) => (speed / (theirs[round] ?? 0)).toFixed(2));
    const scale = median(ours) / median(speeds('gemlet', settings.streams.indexOf(1)));
    lines.push(
      `${count} | ${median(ours).toFixed(1)} | ${median(theirs).toFixed(1)} | ${ratios.join(', ')} | ${scale.toFixed(2)}`,
    );
  }
  for (const part of ['gemlet', 'llama'] as const) {
    for (const round of rounds) {
      const { gaps } = round[part];
      if (gaps === null) continue;
      const at = (fraction: number): string => quantile(gaps.gapsMs, fraction).toFixed(0);
      const bound = (BUDGET_MS + gaps.aloneMs).toFixed(0);
      lines.push(
        `${part}: while ${settings.arriving} tokens arrive beside ${RUNNING_STREAMS} streams: gaps p50 ${at(0.5)}, p99 ${at(0.99)}, longest ${at(1)} ms (budget + one step: ${bound}); first token after ${(gaps.arrivalMs / 1000).toFixed(1)} s`,
      );
    }
  }
  return lines.join('\n');
}
