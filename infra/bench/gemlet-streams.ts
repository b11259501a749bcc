import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { openKvStore } from '../../adapters/node/open-kv-store.ts';
import { startOnnxBackend } from '../../adapters/onnx/backend.ts';
import type { Backend } from '../../src/engine/backend.ts';
import type {
  Engine,
  GenerateEvent,
  PreparedPrompt,
  PromptImage,
  SamplingParams,
} from '../../src/engine/engine.ts';
import { createLocalEngine } from '../../src/engine/local-engine.ts';
import { parseImageConfig } from '../../src/image/image-config.ts';
import { toPixels } from '../../src/image/preprocess.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { median } from './stats.ts';
import { ALONE_TOKENS } from './stream-engine.ts';
import type { StreamEngine, StreamEngineSettings } from './stream-engine.ts';
import { allStartedMs, gapsDuring, haveTokensAfter, rateTogether } from './token-times.ts';
import type { TokenTimes } from './token-times.ts';

export interface GemletStreamSettings extends StreamEngineSettings {
  readonly checkpoint: string;
  readonly kvBudgetBytes: number;
  /** A folder or `s3://bucket/prefix` for pages. */
  readonly kvStore?: string;
  /** Default `always`. */
  readonly kvRestore?: 'faster' | 'always';
  /** Default `exact`. */
  readonly kvStoreFormat?: KvStoreFormat;
}

export interface OpenedEngine {
  readonly engine: Engine;
  readonly backend: Backend;
  /** Waits until what was said is in the store, or lost. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export type KvStoreFormat = 'exact' | 'int8';

const NO_BYTES = new Uint8Array(0);
const IMAGE_CACHE_BYTES = 64 * 2 ** 20;

/** The engine as it serves: int8 activations and head, default time budget. */
export async function openGemletEngine(settings: GemletStreamSettings): Promise<OpenedEngine> {
  const checkpoint = await openCheckpoint(createFolderSource(settings.checkpoint));
  const { config } = checkpoint;
  const backend = await startOnnxBackend({
    checkpoint,
    precision: 'fast',
    head: 'int8',
    contextTokens: settings.contextTokens,
    rowCount: settings.rowCount,
    threads: settings.threads,
  });
  await backend.loaded;
  const { kvStore, kvRestore = 'always', kvStoreFormat = 'exact' } = settings;
  const store =
    kvStore === undefined
      ? null
      : openKvStore(kvStore, checkpoint, backend, { kvRestore, kvStoreFormat });
  const imageConfig = config.vision === null ? null : parseImageConfig({}, config.vision);
  const engine = createLocalEngine({
    backend,
    tokens: { vocabSize: config.text.vocabSize, bytes: () => NO_BYTES, suppressed: [] },
    model: { config, contextTokens: settings.contextTokens, precision: 'fast' },
    toPixels: (images) =>
      imageConfig === null ? new Float32Array(0) : toPixels(images, imageConfig),
    clock: systemClock,
    maxWaiting: 64,
    kvBudgetBytes: settings.kvBudgetBytes,
    ...(store === null ? {} : { kvStore: store }),
    imageCacheBytes: IMAGE_CACHE_BYTES,
  });
  return {
    engine,
    backend,
    flush: async () => store?.flush(),
    async close() {
      await engine.close();
      await checkpoint.close();
    },
  };
}

export function benchPrompt(
  tokens: Int32Array,
  scope = '',
  images: readonly PromptImage[] = [],
): PreparedPrompt {
  return { tokens, images, assistantSpans: [], scope };
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
    allowedIds: null,
    minTokens: 0,
    ignoreEos: true,
    includesStop: false,
    logprobs: null,
    promptLogprobs: null,
  };
}

interface RunningStreams {
  readonly times: TokenTimes;
  /** @throws Error when the streams end before `condition` holds */
  reached(condition: (times: TokenTimes) => boolean): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a stream a prompt; they go on until `stop`, or until the context is full. */
function startStreams(
  engine: Engine,
  prompts: readonly Int32Array[],
  contextTokens: number,
): RunningStreams {
  const stop = new AbortController();
  const times: number[][] = prompts.map(() => []);
  let onToken: (() => void) | null = null;
  const run = async (tokens: Int32Array, stream: number): Promise<void> => {
    const prompt = benchPrompt(tokens, `stream ${stream} of ${prompts.length}`);
    try {
      const params = greedy(contextTokens - tokens.length);
      for await (const event of engine.generate(prompt, params, stop.signal)) {
        if (event.type !== 'token') continue;
        times[stream]?.push(performance.now());
        onToken?.();
      }
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    }
  };
  const ended = Promise.all(prompts.map(run)).then(() => undefined);
  return {
    times,
    async reached(condition) {
      const reached = new Promise<boolean>((resolve) => {
        onToken = () => {
          if (condition(times)) resolve(true);
        };
      });
      const isReached = await Promise.race([reached, ended.then(() => false)]);
      if (!isReached) throw new Error('the context was full before the measurement was over');
    },
    async stop() {
      stop.abort(new Error('measured'));
      await ended;
    },
  };
}

async function firstToken(events: AsyncIterable<GenerateEvent>): Promise<void> {
  for await (const event of events) if (event.type === 'token') return;
}

export async function createGemletStreams(settings: GemletStreamSettings): Promise<StreamEngine> {
  const { contextTokens } = settings;
  const opened = await openGemletEngine(settings);
  const { engine } = opened;
  return {
    label: 'gemlet, fast, int8 head, default time budget',
    async throughput(prompts, decodeTokens) {
      const streams = startStreams(engine, prompts, contextTokens);
      await streams.reached((times) => haveTokensAfter(times, allStartedMs(times), decodeTokens));
      await streams.stop();
      return rateTogether(streams.times);
    },
    async gaps(prompts, arrivals) {
      const streams = startStreams(engine, prompts, contextTokens);
      await streams.reached((times) => haveTokensAfter(times, allStartedMs(times), ALONE_TOKENS));
      const fromMs = performance.now();
      const arrivalMs: number[] = [];
      for (const { tokens, images } of arrivals) {
        const startedMs = performance.now();
        await firstToken(engine.generate(benchPrompt(tokens, 'arriving', images), greedy(1)));
        arrivalMs.push(performance.now() - startedMs);
      }
      const toMs = performance.now();
      // A pause under way counts in full.
      await streams.reached((times) => haveTokensAfter(times, toMs, 1));
      await streams.stop();
      const { times } = streams;
      const alone = gapsDuring(times, allStartedMs(times), fromMs);
      return { gapsMs: gapsDuring(times, fromMs, toMs), arrivalMs, aloneMs: median(alone) };
    },
    close: () => opened.close(),
  };
}
