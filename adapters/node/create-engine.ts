import { availableParallelism } from 'node:os';
import type { Completer, ModelCard } from '../../src/completer.ts';
import { openModel } from '../../src/bundle/open-model.ts';
import { createEngineCompleter, tokenBytesOf } from '../../src/engine-completer.ts';
import type { PreparedImage } from '../../src/engine/engine.ts';
import { createLocalEngine } from '../../src/engine/local-engine.ts';
import { ServeError } from '../../src/errors.ts';
import { parseImageConfig, type ImageConfig } from '../../src/image/image-config.ts';
import { createImageLoader } from '../../src/image/load-image.ts';
import { toPixels } from '../../src/image/preprocess.ts';
import { systemClock } from '../../src/lib/clock.ts';
import type { ModelConfig, VisionConfig } from '../../src/model/config.ts';
import type { MemoryTable } from '../../src/model/memory.ts';
import type { LoadImage } from '../../src/prompt/load-images.ts';
import { createPreparer } from '../../src/prompt/prepare.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import type { SessionRegistry } from '../../src/sessions/registry.ts';
import { readJson } from '../../src/weights/read-json.ts';
import { startOnnxBackend, type LoadingBackend } from '../onnx/backend.ts';
import { cardOf } from './describe-model.ts';
import { CHUNK_TOKENS, resolveSettings, type EngineOptions } from './engine-settings.ts';
import { createPicturePool, type PicturePool } from './pictures/pool.ts';
import { provideLibrary } from './library/provide-library.ts';
import { openKvStore } from './open-kv-store.ts';
import { loadTokenizer } from './load-tokenizer.ts';
import { requireMemory } from './memory-fit.ts';
import { DEMO_MODEL, openModelSource } from './open-source.ts';
import { openSessions } from './open-sessions.ts';
import { createNodeSafeFetch } from './safe-fetch.ts';
import { nodeSha256 } from './sha256.ts';

export type { EngineOptions };

/** A model loaded and ready: hand it to `createApp`, or ask it directly. */
export interface LocalCompleter extends Completer {
  readonly config: ModelConfig;
  /** Where the memory goes. */
  readonly memory: MemoryTable;
}

const DEFAULT_MAX_WAITING = 64;
/** A phone that was put away for a moment comes back within a minute. */
const DEFAULT_STALL_MS = 60_000;
/** Small files: what is not written within so long waits for nothing. */
const SESSIONS_FLUSH_MS = 1_000;

/**
 * Loads a model into this process and returns it as a completer.
 * @throws ServeError weights_unavailable, invalid_checkpoint, unsupported_model, out_of_memory,
 *   backend_unavailable; the signal's reason on abort
 * @example
 * const completer = await createEngine({ model: './gemma-3-4b-it-int4-awq' });
 * const app = createApp({ completer });
 */
export async function createEngine(options: EngineOptions = {}): Promise<LocalCompleter> {
  const { completer, loaded } = await startEngine(options);
  try {
    await loaded;
    return completer;
  } catch (error) {
    await completer.close();
    throw error;
  }
}

/** A completer that takes requests while its weights come: they run as far as the weights go. */
export interface StartedEngine {
  readonly completer: LocalCompleter;
  /** Resolves when the weights are there; when it rejects, what runs fails, and closing is the caller's. */
  readonly loaded: Promise<void>;
}

/** The same as {@link createEngine}, resolved as soon as it can be asked. */
export async function startEngine(options: EngineOptions = {}): Promise<StartedEngine> {
  const { signal } = options;
  const opened = openModelSource(options.model ?? DEMO_MODEL, options.token);
  const { id } = opened;
  const checkpoint = await openModel(opened.source, {
    signal,
    onProgress: options.onProgress,
    sha256: nodeSha256,
  });
  const { source } = checkpoint;
  let backend: LoadingBackend | undefined;
  const pictures = createPicturePool(options.pictures);
  try {
    const settings = resolveSettings(checkpoint, options);
    const { memory } = settings;
    requireMemory(memory, settings.availableBytes);
    const imageConfig = await readImageConfig(source, checkpoint.config.vision, signal);
    const { tokenizer, vocabulary } = await loadTokenizer(source, signal);
    const library = await provideLibrary({ signal });
    backend = await startOnnxBackend({
      checkpoint,
      library,
      precision: settings.precision,
      head: settings.head,
      contextTokens: settings.contextTokens,
      rowCount: settings.slots,
      threads: options.threads ?? availableParallelism(),
      chunkTokens: CHUNK_TOKENS,
      ...(signal === undefined ? {} : { signal }),
    });
    const tokens = tokenBytesOf(tokenizer, checkpoint.config);
    let sessions: SessionRegistry | null = null;
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
      maxPerTenant: options.maxPerTenant ?? Number.POSITIVE_INFINITY,
      stallMs: options.stallMs ?? DEFAULT_STALL_MS,
      kvBudgetBytes: settings.kvBudgetBytes,
      imageCacheBytes: settings.imageCacheBytes,
      ...(options.kvStore === undefined
        ? {}
        : { kvStore: openKvStore(options.kvStore, checkpoint, backend, options) }),
      ...(options.prefillBudgetMs === undefined
        ? {}
        : { prefillBudgetMs: options.prefillBudgetMs }),
      speculates: options.speculates ?? false,
      onTurn: ({ session, content, cachedTokens }) => {
        const { tenant, id: sessionId, turn } = session;
        sessions?.record(tenant, sessionId, content, { turn, savedTokens: cachedTokens });
      },
      ...(options.onEvent === undefined ? {} : { onEvent: options.onEvent }),
    });
    const registry = openSessions(engine, options);
    sessions = registry;
    const loadImage = imageLoaderFor(imageConfig, pictures, options);
    const preparer = createPreparer({
      tokenizer,
      model: checkpoint.config,
      contextTokens: settings.contextTokens,
      loadImage,
    });
    const card: ModelCard = {
      ...cardOf(checkpoint, settings, options.id ?? id),
      // The embedding may have more rows than there are tokens.
      vocabSize: tokenizer.vocabSize,
    };
    const completer = createEngineCompleter({
      engine,
      tokenizer,
      prepare: (input, promptSignal) => preparer.prepare(input, promptSignal),
      card,
      replica: {
        image: imageConfig,
        fingerprint: checkpoint.fingerprint,
        vocabulary: async () => vocabulary,
        loadImage: (bytes, panAndScan, imageSignal = new AbortController().signal) => {
          const part = { type: 'image', source: { type: 'bytes', bytes }, panAndScan } as const;
          return loadImage({ ...part, param: 'image' }, imageSignal);
        },
      },
    });
    const { loaded } = backend;
    let isLoaded = false;
    const local = Object.defineProperties(
      {
        ...completer,
        sessions: registry,
        config: checkpoint.config,
        memory,
        async drain(deadlineMs: number): Promise<void> {
          await completer.drain(deadlineMs);
          await registry.flush(AbortSignal.timeout(SESSIONS_FLUSH_MS)).catch(() => undefined);
        },
        async close(): Promise<void> {
          // While weights still come it goes first, so that nothing waits for what will not come.
          const closed = isLoaded ? null : checkpoint.close();
          await registry.close();
          await pictures.close();
          await completer.close();
          await (closed ?? checkpoint.close());
        },
      },
      // A getter does not survive the spread: the state has to stay live.
      { state: { get: () => completer.state, enumerable: true } },
    );
    // Rows of the embedding table are fetched one by one until all are here, so nobody waits for them.
    loaded
      .then(() => {
        isLoaded = true;
        return checkpoint.loadEmbeddings?.();
      })
      .catch(() => undefined);
    return { completer: local, loaded };
  } catch (error) {
    await backend?.close();
    await pictures.close();
    await checkpoint.close();
    throw error;
  }
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

function imageLoaderFor(
  config: ImageConfig | null,
  pictures: PicturePool,
  options: Pick<EngineOptions, 'imageUrls' | 'pictures'>,
): LoadImage {
  if (config === null) {
    return () => {
      throw new ServeError('invalid_image', 'This model has no vision tower: send text only.');
    };
  }
  const { imageUrls } = options;
  const limits = options.pictures?.limits;
  return createImageLoader({
    prepare: pictures.prepare,
    ...(limits === undefined ? {} : { limits }),
    fetchUrl: imageUrls === null ? null : createNodeSafeFetch(imageUrls),
    config,
  });
}
