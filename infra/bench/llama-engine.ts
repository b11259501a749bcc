/* oxlint-disable no-underscore-dangle -- the native context is only reachable through members the package marks internal */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BenchEngine, EngineSettings } from './bench-engine.ts';

/** What the bench calls of node-llama-cpp; the package is installed on demand, so no types come with it. */
interface LlamaModule {
  readonly getLlama: (options: object) => Promise<Llama>;
}

interface Llama {
  readonly _bindings: { AddonSampler: new (model: unknown) => Sampler };
  readonly llamaCppRelease: { readonly release: string };
  readonly systemInfo: string;
  loadModel(options: object): Promise<LlamaModel>;
  dispose(): Promise<void>;
}

interface LlamaModel {
  readonly _model: unknown;
  createContext(options: object): Promise<LlamaContext>;
  dispose(): Promise<void>;
}

interface LlamaContext {
  readonly _ctx: AddonContext;
  dispose(): Promise<void>;
}

interface AddonContext {
  initBatch(size: number): void;
  addToBatch(
    sequence: number,
    position: number,
    tokens: Uint32Array,
    logitIndexes: Uint32Array,
  ): Uint32Array;
  decodeBatch(): Promise<void>;
  disposeSequence(sequence: number): void;
  sampleToken(
    logitIndex: number,
    sampler: Sampler,
    probabilities: boolean,
    confidence: boolean,
    logits: boolean,
  ): Promise<[number, unknown, unknown, number[] | undefined]>;
}

interface Sampler {
  applyConfig(config: object): void;
  dispose(): void;
}

export interface LlamaSettings extends EngineSettings {
  /** Folder that holds node_modules with node-llama-cpp. */
  readonly toolFolder: string;
  readonly gguf: string;
  readonly flashAttention: boolean;
}

/** llama.cpp's best batch on two cores in our trials; also its default. */
export const BATCH_TOKENS = 512;

/**
 * Through this binding llama.cpp starts its threads anew for every batch, and Linux can leave them all
 * on one core for up to 16 ms. A core that has just gone idle looks for work elsewhere, so the main
 * thread wakes and sleeps for llama.cpp's benefit. It shortens the stall and does not end it.
 */
const WAKE_EVERY_MS = 1;

/** llama.cpp's native context, and what closes it. */
export interface OpenLlama {
  readonly native: AddonContext;
  readonly sampler: Sampler;
  readonly label: string;
  close(): Promise<void>;
}

/**
 * llama.cpp on the CPU through node-llama-cpp's native context: one `llama_decode` a batch,
 * without its JavaScript queue and sampler. Weights memory-mapped, F16 keys and values.
 * Uses members that the package marks internal, hence its pinned version.
 * @param sequences each with a context of its own
 */
export async function openLlama(settings: LlamaSettings, sequences: number): Promise<OpenLlama> {
  const packagePath = join(settings.toolFolder, 'node_modules/node-llama-cpp');
  const url = pathToFileURL(join(packagePath, 'dist/index.js')).href;
  const { getLlama } = (await import(url)) as LlamaModule;
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    progressLogs: false,
    logLevel: 'error',
    maxThreads: settings.threads,
  });
  const model = await llama.loadModel({ modelPath: settings.gguf, gpuLayers: 0, useMmap: true });
  const context = await model.createContext({
    contextSize: settings.contextTokens,
    batchSize: BATCH_TOKENS,
    sequences,
    threads: { ideal: settings.threads, min: settings.threads },
    flashAttention: settings.flashAttention,
    failedCreationRemedy: false,
  });
  const waking = setInterval(() => undefined, WAKE_EVERY_MS);
  const sampler = new llama._bindings.AddonSampler(model._model);
  sampler.applyConfig({ temperature: 0 });
  const { version } = createRequire(url)(join(packagePath, 'package.json')) as { version: string };
  return {
    native: context._ctx,
    sampler,
    label: `llama.cpp ${llama.llamaCppRelease.release} (node-llama-cpp ${version}), flash attention ${settings.flashAttention ? 'on' : 'off'}`,
    close: async () => {
      clearInterval(waking);
      sampler.dispose();
      // Inside out: disposing of the library first can wait for its own models forever.
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}

/** llama.cpp with one sequence. */
export async function createLlamaEngine(settings: LlamaSettings): Promise<BenchEngine> {
  const llama = await openLlama(settings, 1);
  const { native, sampler, label } = llama;
  native.initBatch(BATCH_TOKENS);
  let length = 0;
  let logitIndex = -1;
  return {
    label,
    extend: async (tokens) => {
      for (let start = 0; start < tokens.length; start += BATCH_TOKENS) {
        const batch = Uint32Array.from(tokens.subarray(start, start + BATCH_TOKENS));
        const isLast = start + batch.length === tokens.length;
        native.initBatch(batch.length);
        const wanted = isLast ? Uint32Array.of(batch.length - 1) : new Uint32Array(0);
        logitIndex = native.addToBatch(0, length, batch, wanted)[0] ?? -1;
        await native.decodeBatch();
        length += batch.length;
      }
    },
    logits: async () => {
      const sampled = await native.sampleToken(logitIndex, sampler, false, false, true);
      return unpackLogits(sampled[3] ?? []);
    },
    reset: () => {
      native.disposeSequence(0);
      length = 0;
    },
    close: () => llama.close(),
  };
}

/** From [id, logit, id, logit, ...] in any order. */
function unpackLogits(pairs: readonly number[]): Float32Array {
  const logits = new Float32Array(pairs.length / 2);
  for (let i = 0; i < pairs.length; i += 2) logits[pairs[i] ?? 0] = pairs[i + 1] ?? 0;
  return logits;
}
