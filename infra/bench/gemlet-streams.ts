import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { createOnnxBackend } from '../../adapters/onnx/backend.ts';
import type {
  Engine,
  GenerateEvent,
  PreparedPrompt,
  SamplingParams,
} from '../../src/engine/engine.ts';
import { createLocalEngine } from '../../src/engine/local-engine.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { median } from './stats.ts';
import type { StreamEngine, StreamEngineSettings } from './stream-engine.ts';

export interface GemletStreamSettings extends StreamEngineSettings {
  readonly checkpoint: string;
  readonly kvBudgetBytes: number;
}

const NO_BYTES = new Uint8Array(0);
const ALONE_TOKENS = 24;

/** The engine as it serves: int8 activations and head, default time budget. */
export async function openGemletEngine(
  settings: GemletStreamSettings,
): Promise<{ readonly engine: Engine; close(): Promise<void> }> {
  const checkpoint = await openCheckpoint(createFolderSource(settings.checkpoint));
  const { config } = checkpoint;
  const backend = await createOnnxBackend({
    checkpoint,
    precision: 'fast',
    head: 'int8',
    contextTokens: settings.contextTokens,
    rowCount: settings.rowCount,
    threads: settings.threads,
  });
  const engine = createLocalEngine({
    backend,
    tokens: { vocabSize: config.text.vocabSize, bytes: () => NO_BYTES, suppressed: [] },
    model: { config, contextTokens: settings.contextTokens, precision: 'fast' },
    toPixels: () => new Float32Array(0),
    clock: systemClock,
    maxWaiting: 64,
    kvBudgetBytes: settings.kvBudgetBytes,
  });
  return {
    engine,
    async close() {
      await engine.close();
      await checkpoint.close();
    },
  };
}

export function benchPrompt(tokens: Int32Array, scope = ''): PreparedPrompt {
  return { tokens, images: [], assistantSpans: [], scope };
}

export function greedy(maxTokens: number): SamplingParams {
  return {
    maxTokens,
    temperature: 0,
    topK: 0,
    topP: 1,
    minP: 0,
    repetitionPenalty: 1,
    presencePenalty: 0,
    frequencyPenalty: 0,
    logitBias: new Map(),
    seed: 0,
    stop: [],
    stopIds: [],
    ignoreEos: true,
    logprobs: null,
    promptLogprobs: null,
  };
}

/** Runs streams; each token's arrival is told to `onToken` with the stream's number. */
async function runStreams(
  engine: Engine,
  prompts: readonly Int32Array[],
  maxTokens: number,
  signal: AbortSignal,
  onToken: (stream: number, nowMs: number) => void,
): Promise<void> {
  const run = async (tokens: Int32Array, stream: number): Promise<void> => {
    try {
      const scope = `stream ${stream} ${tokens[1] ?? 0}`;
      for await (const event of engine.generate(
        benchPrompt(tokens, scope),
        greedy(maxTokens),
        signal,
      )) {
        if (event.type === 'token') onToken(stream, performance.now());
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  };
  await Promise.all(prompts.map(run));
}

async function firstToken(events: AsyncIterable<GenerateEvent>): Promise<void> {
  for await (const event of events) if (event.type === 'token') return;
}

export async function createGemletStreams(settings: GemletStreamSettings): Promise<StreamEngine> {
  const opened = await openGemletEngine(settings);
  const { engine } = opened;
  return {
    label: 'gemlet, fast, int8 head, default time budget',
    async throughput(prompts, decodeTokens) {
      const stop = new AbortController();
      const seen = prompts.map(() => 0);
      let startedMs = 0;
      let counted = 0;
      let tokensPerSecond = 0;
      const longest = settings.contextTokens - Math.max(...prompts.map(({ length }) => length));
      await runStreams(engine, prompts, longest, stop.signal, (stream, nowMs) => {
        seen[stream] = (seen[stream] ?? 0) + 1;
        if (startedMs === 0) {
          // The next step is the first in which all decode.
          if (seen.every((count) => count > 1)) startedMs = nowMs;
          return;
        }
        counted++;
        if (counted < decodeTokens * prompts.length || stop.signal.aborted) return;
        tokensPerSecond = (counted * 1000) / (nowMs - startedMs);
        stop.abort(new Error('measured'));
      });
      return tokensPerSecond;
    },
    async gaps(prompts, arriving) {
      const stop = new AbortController();
      const newestMs = prompts.map(() => 0);
      const alone: number[] = [];
      const gapsMs: number[] = [];
      let tokensEach = 0;
      const arrivals: Promise<void>[] = [];
      let arrivalMs = 0;
      const longest = settings.contextTokens - Math.max(...prompts.map(({ length }) => length));
      await runStreams(engine, prompts, longest, stop.signal, (stream, nowMs) => {
        const before = newestMs[stream] ?? 0;
        newestMs[stream] = nowMs;
        if (newestMs.some((ms) => ms === 0)) return;
        if (stream === 0) tokensEach++;
        if (arrivals.length > 0) {
          gapsMs.push(nowMs - before);
          return;
        }
        if (before > 0 && tokensEach > 2) alone.push(nowMs - before);
        if (tokensEach < ALONE_TOKENS) return;
        const startedMs = performance.now();
        const arrive = async (): Promise<void> => {
          await firstToken(engine.generate(benchPrompt(arriving, 'arriving'), greedy(1)));
          arrivalMs = performance.now() - startedMs;
          stop.abort(new Error('measured'));
        };
        arrivals.push(arrive());
      });
      await Promise.all(arrivals);
      return { gapsMs, arrivalMs, aloneMs: median(alone) };
    },
    close: () => opened.close(),
  };
}
