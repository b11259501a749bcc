import { availableParallelism } from 'node:os';
import type { Completer, ModelCard } from '../../src/completer.ts';
import { createEngineCompleter, tokenBytesOf } from '../../src/engine-completer.ts';
import type { Backend } from '../../src/engine/backend.ts';
import type { PreparedImage } from '../../src/engine/engine.ts';
import { createLocalEngine, type EngineEvent } from '../../src/engine/local-engine.ts';
import { ringCapacity } from '../../src/engine/row-ring.ts';
import { ServeError } from '../../src/errors.ts';
import { parseImageConfig, type ImageConfig } from '../../src/image/image-config.ts';
import { createImageLoader } from '../../src/image/load-image.ts';
import { toPixels } from '../../src/image/preprocess.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { ModelConfig, VisionConfig } from '../../src/model/config.ts';
import { memoryTable, type MemoryTable } from '../../src/model/memory.ts';
import type { LoadImage } from '../../src/prompt/load-images.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import { openCheckpoint, type OpenedCheckpoint } from '../../src/weights/open-checkpoint.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { readJson } from '../../src/weights/read-json.ts';
import { createOnnxBackend } from '../onnx/backend.ts';
import { ringOptionsFor } from '../onnx/ring-options.ts';
import { createNodeImageDecoder } from './image-decoder.ts';
import { loadTokenizer } from './load-tokenizer.ts';
import { availableBytes, KV_PAGES_PART, requireMemory } from './memory-fit.ts';
import { DEMO_MODEL, openModelSource } from './open-source.ts';
import { createNodeSafeFetch } from './safe-fetch.ts';

export interface EngineOptions {
  /** `demo` (default), a folder, `hf:org/name[@revision]`, or an https URL of a folder. */
  readonly model?: string;
  /** What clients call it; by default the folder's or repository's name. */
  readonly id?: string;
  /** Read token for private and gated repositories of the Hugging Face hub. */
  readonly token?: string;
  /** `fast` (default) rounds activations to int8 per block of 32; `exact` computes in fp32. */
  readonly precision?: 'exact' | 'fast';
  /** How the output head is kept; default int8 in `fast`, float in `exact`. */
  readonly head?: 'int8' | 'int4' | 'float';
  /** Longest prompt plus completion, in tokens; default 8192 or the model's own limit. */
  readonly contextTokens?: number;
  /** Sequences that run at once; default 4. */
  readonly slots?: number;
  /** Requests that may wait for a slot; default 64. */
  readonly maxWaiting?: number;
  /**
   * Bytes of host memory for keys and values of conversations that lost their slot; default a quarter
   * of the memory that the model leaves, at most 8 GiB. 0 keeps none: such turns are computed again.
   */
  readonly kvBudgetBytes?: number;
  /** Milliseconds that prompt work may hold up running answers in one step; default 250. */
  readonly prefillBudgetMs?: number;
  /**
   * While one answer runs alone, guesses its next tokens from what stands in its conversation and checks
   * several in one step; stops by itself where that loses. Same choices, other rounding. Default off.
   */
  readonly speculates?: boolean;
  /** Observes the engine; must not throw. */
  readonly onEvent?: (event: EngineEvent) => void;
  /** Compute threads; default all that the process may use. */
  readonly threads?: number;
  /** Aborts the load. */
  readonly signal?: AbortSignal;
}

/** A model loaded and ready: hand it to `createApp`, or ask it directly. */
export interface LocalCompleter extends Completer {
  readonly config: ModelConfig;
  /** Where the memory goes. */
  readonly memory: MemoryTable;
}

const DEFAULT_CONTEXT_TOKENS = 8192;
const DEFAULT_SLOTS = 4;
const DEFAULT_MAX_WAITING = 64;
/** Longest text chunk of one step. */
export const CHUNK_TOKENS = 256;
const MAX_SLOTS = 256;
const MAX_DEFAULT_KV_BUDGET_BYTES = 8 * 2 ** 30;
/** About 50 images of the 27B, 100 of the 4B. */
const MAX_IMAGE_CACHE_BYTES = 256 * 2 ** 20;

/**
 * Loads a model into this process and returns it as a completer.
 * @throws ServeError weights_unavailable, invalid_checkpoint, unsupported_model, out_of_memory,
 *   backend_unavailable; the signal's reason on abort
 * @example
 * const completer = await createEngine({ model: './gemma-3-4b-it-int4-awq' });
 * const app = createApp({ completer });
 */
export async function createEngine(options: EngineOptions = {}): Promise<LocalCompleter> {
  const { signal } = options;
  const { source, id } = openModelSource(options.model ?? DEMO_MODEL, options.token);
  const checkpoint = await openCheckpoint(source, signal);
  let backend: Backend | undefined;
  try {
    const settings = resolveSettings(checkpoint, options);
    const { memory } = settings;
    requireMemory(memory, settings.availableBytes);
    const imageConfig = await readImageConfig(source, checkpoint.config.vision, signal);
    const tokenizer = await loadTokenizer(source, signal);
    backend = await createOnnxBackend({
      checkpoint,
      precision: settings.precision,
      head: settings.head,
      contextTokens: settings.contextTokens,
      rowCount: settings.slots,
      threads: options.threads ?? availableParallelism(),
      chunkTokens: CHUNK_TOKENS,
      ...(signal === undefined ? {} : { signal }),
    });
    const tokens = tokenBytesOf(tokenizer, checkpoint.config);
    const engine = createLocalEngine({
      backend,
      tokens,
      model: {
        config: checkpoint.config,
        contextTokens: settings.contextTokens,
        precision: settings.precision,
      },
      toPixels: pixelsFor(imageConfig),
      clock: systemClock,
      maxWaiting: options.maxWaiting ?? DEFAULT_MAX_WAITING,
      kvBudgetBytes: settings.kvBudgetBytes,
      imageCacheBytes: settings.imageCacheBytes,
      ...(options.prefillBudgetMs === undefined
        ? {}
        : { prefillBudgetMs: options.prefillBudgetMs }),
      speculates: options.speculates ?? false,
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    });
    const preparer = createPreparer({
      tokenizer,
      model: checkpoint.config,
      contextTokens: settings.contextTokens,
      loadImage: imageLoaderFor(imageConfig),
    });
    const card: ModelCard = {
      id: options.id ?? id,
      createdSeconds: Math.floor(Date.now() / 1000),
      contextTokens: settings.contextTokens,
      precision: settings.precision,
      acceptsImages: checkpoint.config.vision !== null,
      vocabSize: tokenizer.vocabSize,
      defaults: checkpoint.defaults,
    };
    const completer = createEngineCompleter({
      engine,
      tokenizer,
      prepare: (input, promptSignal) => preparer.prepare(input, promptSignal),
      card,
    });
    return Object.defineProperties(
      {
        ...completer,
        config: checkpoint.config,
        memory,
        async close(): Promise<void> {
          await completer.close();
          await checkpoint.close();
        },
      },
      // A getter does not survive the spread: the state has to stay live.
      { state: { get: () => completer.state, enumerable: true } },
    );
  } catch (error) {
    await backend?.close();
    await checkpoint.close();
    throw error;
  }
}

interface Settings {
  readonly precision: 'exact' | 'fast';
  readonly head: 'int8' | 'int4' | 'float';
  readonly contextTokens: number;
  readonly slots: number;
  readonly kvBudgetBytes: number;
  readonly imageCacheBytes: number;
  /** What the process may take before anything is loaded. */
  readonly availableBytes: number;
  readonly memory: MemoryTable;
}

/** Fills in what the options leave open and checks the rest against the model. */
function resolveSettings(checkpoint: OpenedCheckpoint, options: EngineOptions): Settings {
  const { config } = checkpoint;
  const { maxPositions } = config.text;
  const precision = options.precision ?? 'fast';
  const head = options.head ?? (precision === 'exact' ? 'float' : 'int8');
  const contextTokens = options.contextTokens ?? Math.min(DEFAULT_CONTEXT_TOKENS, maxPositions);
  const slots = options.slots ?? DEFAULT_SLOTS;
  if (!Number.isInteger(contextTokens) || contextTokens < 2 || contextTokens > maxPositions) {
    throw new RangeError(
      `The context must be 2 to ${maxPositions} tokens for this model, not ${contextTokens}.`,
    );
  }
  if (!Number.isInteger(slots) || slots < 1 || slots > MAX_SLOTS) {
    throw new RangeError(`There must be 1 to ${MAX_SLOTS} slots, not ${slots}.`);
  }
  const ringTokens = ringCapacity(ringOptionsFor(config, CHUNK_TOKENS));
  const decoder = checkpoint.tensors.get('layers.0.mlp.down_proj') === undefined ? 'int4' : 'float';
  const fixed = memoryTable({
    config,
    precision,
    head,
    contextTokens,
    rowCount: slots,
    ringTokens,
    decoder,
    chunkTokens: CHUNK_TOKENS,
  });
  const free = availableBytes();
  const kvBudgetBytes = options.kvBudgetBytes ?? defaultKvBudget(free - fixed.totalBytes);
  if (!Number.isInteger(kvBudgetBytes) || kvBudgetBytes < 0) {
    throw new RangeError(`kvBudgetBytes must be a whole number from 0 on, not ${kvBudgetBytes}.`);
  }
  const imageCacheBytes =
    config.vision === null ? 0 : Math.min(MAX_IMAGE_CACHE_BYTES, Math.floor(kvBudgetBytes / 8));
  const memory = withHostMemory(fixed, kvBudgetBytes, imageCacheBytes);
  return {
    precision,
    head,
    contextTokens,
    slots,
    kvBudgetBytes,
    imageCacheBytes,
    availableBytes: free,
    memory,
  };
}

/** Some of what is left, so that the rest of the machine has room. */
function defaultKvBudget(leftBytes: number): number {
  return Math.min(MAX_DEFAULT_KV_BUDGET_BYTES, Math.max(0, Math.floor(leftBytes / 4)));
}

function withHostMemory(
  table: MemoryTable,
  kvBudgetBytes: number,
  imageCacheBytes: number,
): MemoryTable {
  const rows = [
    {
      part: KV_PAGES_PART,
      bytes: kvBudgetBytes,
      note: 'at most; conversations without a slot (--kv-budget)',
    },
    {
      part: 'image embeddings',
      bytes: imageCacheBytes,
      note: 'at most; images that come again are not encoded again',
    },
  ].filter(({ bytes }) => bytes > 0);
  const totalBytes = table.totalBytes + kvBudgetBytes + imageCacheBytes;
  return { rows: [...table.rows, ...rows], totalBytes };
}

async function readImageConfig(
  source: ObjectSource,
  vision: VisionConfig | null,
  signal: AbortSignal | undefined,
): Promise<ImageConfig | null> {
  if (vision === null) return null;
  // The reference's defaults serve where the file is missing.
  const json = (await readJson(source, 'preprocessor_config.json', signal)) ?? {};
  return parseImageConfig(json, vision);
}

function pixelsFor(config: ImageConfig | null): (images: readonly PreparedImage[]) => Float32Array {
  return (images) => {
    if (config === null) {
      throw new ServeError('invalid_image', 'This model has no vision tower: send text only.');
    }
    return toPixels(images, config);
  };
}

function imageLoaderFor(config: ImageConfig | null): LoadImage {
  if (config === null) {
    return () => {
      throw new ServeError('invalid_image', 'This model has no vision tower: send text only.');
    };
  }
  return createImageLoader({
    decoder: createNodeImageDecoder(),
    fetchUrl: createNodeSafeFetch(),
    config,
  });
}
