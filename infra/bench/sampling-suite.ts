import { parseArgs } from 'node:util';
import { resolve } from 'node:path';
import type { SamplingParams } from '../../src/engine/engine.ts';
import { createLogprobReader } from '../../src/engine/logprobs.ts';
import { createSampler } from '../../src/engine/sampler.ts';
import type { TokenHistory } from '../../src/engine/sampler.ts';
import { whole } from './arguments.ts';
import { greedy } from './gemlet-streams.ts';
import { openLlamaSampling } from './llama-sampling.ts';
import type { LlamaFilters } from './llama-sampling.ts';
import { ensureLlamaTool, libraryFolder } from './llama-tool.ts';
import { createRandom } from './random.ts';
import { recordResults } from './results.ts';
import { quantile } from './stats.ts';

export const SAMPLING_USAGE = `Usage: npm run bench -- sampling [options]

Choosing one token from given logits, beside llama.cpp's samplers on the same ones: lower quartile and
fastest of the draws, in microseconds. llama.cpp is timed from a ready array of candidates, which its
own programs fill first.

  --vocab N         width of the logits; default 262144
  --draws N         of each setting; default 200
  --only gemlet     leaves llama.cpp out
`;

const TOOLS = resolve('.cache/bench/tools');
const LONG_PROMPT_TOKENS = 100_000;
const TOP_LOGPROBS = 20;
const NOTHING: TokenHistory = { prompt: new Int32Array(0), output: new Map(), ends: new Set() };

interface Times {
  readonly quartileUs: number;
  readonly leastUs: number;
}

interface SamplingRow {
  readonly logits: string;
  readonly setting: string;
  readonly gemlet: Times;
  /** null: it has none such, or was left out. */
  readonly llama: Times | null;
}

interface Setting {
  readonly name: string;
  readonly params: Partial<SamplingParams>;
  /** null: not one of its filters. */
  readonly llama: LlamaFilters | null;
}

const SETTINGS: readonly Setting[] = [
  { name: 'greedy', params: { temperature: 0 }, llama: null },
  { name: 'no filter', params: {}, llama: { topK: 0, topP: 1, minP: 0 } },
  { name: 'top-p 0.95', params: { topP: 0.95 }, llama: { topK: 0, topP: 0.95, minP: 0 } },
  { name: 'min-p 0.05', params: { minP: 0.05 }, llama: { topK: 0, topP: 1, minP: 0.05 } },
  {
    name: 'top-k 64, top-p 0.95',
    params: { topK: 64, topP: 0.95 },
    llama: { topK: 64, topP: 0.95, minP: 0 },
  },
  {
    name: 'top-k 1500, top-p 0.95',
    params: { topK: 1500, topP: 0.95 },
    llama: { topK: 1500, topP: 0.95, minP: 0 },
  },
];

export async function runSampling(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      vocab: { type: 'string', default: '262144' },
      draws: { type: 'string', default: '200' },
      only: { type: 'string' },
    },
  });
  if (values.only !== undefined && values.only !== 'gemlet') {
    throw new RangeError(`--only takes gemlet, not '${values.only}'`);
  }
  const vocabSize = whole('--vocab', values.vocab, 100);
  const draws = whole('--draws', values.draws);
  if (values.only === undefined) ensureLlamaTool(TOOLS, console.error);
  const llama =
    values.only === undefined ? openLlamaSampling(libraryFolder(TOOLS), vocabSize) : null;
  const shapes = { peaked: peakedLogits(vocabSize), flat: flatLogits(vocabSize) };
  await recordResults<readonly SamplingRow[]>(
    {
      suite: 'sampling',
      planned: Object.keys(shapes).length * (SETTINGS.length + 2),
      format: (rows) => formatSampling(vocabSize, draws, rows),
    },
    async (keep) => {
      const rows: SamplingRow[] = [];
      const add = (row: SamplingRow): void => {
        rows.push(row);
        keep(rows);
      };
      for (const [name, logits] of Object.entries(shapes)) {
        const sampler = createSampler({ vocabSize, suppressed: [] });
        const timed = (params: Partial<SamplingParams>, history = NOTHING): Times => {
          const all = { ...greedy(1), temperature: 1, ...params };
          return timesOf(draws, (index) => sampler.sample(logits, all, history, index));
        };
        for (const { name: setting, params, llama: filters } of SETTINGS) {
          const theirs =
            llama === null || filters === null
              ? null
              : llama.run(filters, logits, (draw) => timesOf(draws, draw));
          add({ logits: name, setting, gemlet: timed(params), llama: theirs });
          // Signals are heard between two rows.
          await new Promise((done) => setImmediate(done));
        }
        const penalty = { temperature: 0, repetitionPenalty: 1.1 };
        const setting = `greedy, repetition penalty, prompt of ${LONG_PROMPT_TOKENS} ids`;
        const gemlet = timed(penalty, longHistory(vocabSize));
        add({ logits: name, setting, gemlet, llama: null });
        const reader = createLogprobReader(TOP_LOGPROBS);
        const logprobs = timesOf(draws, () => reader.read(logits, 0, TOP_LOGPROBS));
        const alone = `log probabilities, top ${TOP_LOGPROBS}, beside the choice`;
        add({ logits: name, setting: alone, gemlet: logprobs, llama: null });
      }
      return rows;
    },
  );
}

/** @param draw gets its number; what it does before its first result counts for nothing */
function timesOf(draws: number, draw: (index: number) => unknown): Times {
  for (let index = 0; index < 10; index++) draw(index);
  const us = Array.from({ length: draws }, (_, index) => {
    const startedMs = performance.now();
    draw(index);
    return (performance.now() - startedMs) * 1000;
  });
  return { quartileUs: quantile(us, 0.25), leastUs: quantile(us, 0) };
}

function formatSampling(vocabSize: number, draws: number, rows: readonly SamplingRow[]): string {
  return [
    `Microseconds to choose a token of ${vocabSize}, lower quartile (fastest) of ${draws}`,
    '',
    '| logits | setting | gemlet | llama.cpp | speed ratio |',
    '|---|---|---|---|---|',
    ...rows.map(({ logits, setting, gemlet, llama }) => {
      const ratio = llama === null ? '' : (llama.quartileUs / gemlet.quartileUs).toFixed(2);
      return `| ${logits} | ${setting} | ${cell(gemlet)} | ${cell(llama)} | ${ratio} |`;
    }),
  ].join('\n');
}

function cell(times: Times | null): string {
  return times === null ? '' : `${times.quartileUs.toFixed(0)} (${times.leastUs.toFixed(0)})`;
}

/** As a model that knows what comes: some dozens of tokens far above a bell of all others. */
function peakedLogits(vocabSize: number): Float32Array {
  const logits = bell('peaked', vocabSize, 3);
  const places = new Uint32Array(60);
  createRandom('peaks').draw(places);
  for (const [rank, place] of places.entries()) logits[place % vocabSize] = 25 - rank / 3;
  return logits;
}

/** Where nearly every token is as likely as any. */
function flatLogits(vocabSize: number): Float32Array {
  return bell('flat', vocabSize, 0.01);
}

function bell(seed: string, count: number, deviation: number): Float32Array {
  const words = new Uint32Array(count * 4);
  createRandom(seed).draw(words);
  return Float32Array.from({ length: count }, (_, at) => {
    const [a = 0, b = 0, c = 0, d = 0] = words.subarray(at * 4, at * 4 + 4);
    // Four uniform numbers have a variance of a third.
    return ((a + b + c + d) / 2 ** 32 - 2) * Math.sqrt(3) * deviation;
  });
}

function longHistory(vocabSize: number): TokenHistory {
  const words = new Uint32Array(LONG_PROMPT_TOKENS);
  createRandom('prompt').draw(words);
  const ids = new Set(Array.from(words, (word) => word % vocabSize));
  return { prompt: Int32Array.from(ids).toSorted(), output: new Map(), ends: new Set() };
}
