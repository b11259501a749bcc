import type { SamplingDefaults } from '../completer.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';
import { parseGenerationConfig } from '../model/generation-config.ts';
import { jsonFields } from '../model/json-fields.ts';
import { hasTiedHead, parseModelConfig } from '../model/parse-config.ts';
import { checkQuantization } from '../model/quantization.ts';
import { checkTensors } from './check-tensors.ts';
import { createCheckpointReader } from './checkpoint-reader.ts';
import type { Checkpoint } from './checkpoint.ts';
import { collectTensors } from './collect-tensors.ts';
import type { ObjectSource } from './object-source.ts';
import { readJson } from './read-json.ts';
import type { StoredTensor } from './safetensors.ts';
import { findShards, listNames, missingFile } from './shard-index.ts';

export interface OpenedCheckpoint extends Checkpoint {
  /** Of the model's small files. */
  readonly source: ObjectSource;
  /** Equal for equal weights: of a bundle by their content, else by the files' names, sizes and etags. */
  readonly fingerprint: string;
  /** From generation_config.json. */
  readonly defaults: SamplingDefaults;
  /** The weight files. */
  readonly files: readonly string[];
  /** Stored names of tensors in the files that are not used, sorted. */
  readonly ignored: readonly string[];
}

/** Where AutoAWQ put its settings before config.json had a place for them. */
const OLD_QUANT_FILES = ['quant_config.json', 'quantize_config.json'] as const;

const WEIGHT_DTYPES = { BF16: 'bfloat16', F16: 'float16', F32: 'float32' } as const;

/**
 * Opens a Hugging Face checkpoint of Gemma 3: reads configs and file headers and checks every
 * tensor against the config; reads no weights. Takes over `source`: it is closed with the
 * checkpoint, or when opening fails.
 * @throws ServeError unsupported_model, invalid_checkpoint, weights_unavailable
 */
export async function openCheckpoint(
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<OpenedCheckpoint> {
  try {
    return await open(source, signal);
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function open(source: ObjectSource, signal?: AbortSignal): Promise<OpenedCheckpoint> {
  const configJson = await readJson(source, 'config.json', signal);
  if (configJson === undefined) {
    throw missingFile(source, 'config.json', await listNames(source, signal));
  }
  // Refuses other architectures before anything else is asked for.
  parseModelConfig(configJson);
  const generationConfig = await readJson(source, 'generation_config.json', signal);
  const defaults = parseGenerationConfig(generationConfig);
  const shards = await findShards(source, signal);
  const { byName, unknown } = await collectTensors(source, shards, signal);
  await checkOldQuantFiles(source, byName, signal);

  const embeddingDtype = embeddingDtypeOf(byName);
  const config = parseModelConfig(configJson, {
    generationConfig,
    ...(embeddingDtype === undefined ? {} : { embeddingDtype }),
  });
  const checked = checkTensors(config, byName, source.name, hasTiedHead(configJson));
  const unused = [...byName].filter(([name]) => !checked.used.has(name));
  return {
    ...createCheckpointReader(source, config, checked),
    source,
    fingerprint: await fingerprintOf(source, configJson, shards.files, signal),
    defaults,
    files: shards.files,
    ignored: [...unknown, ...unused.map(([, tensor]) => tensor.storedName)].toSorted(),
  };
}

/** Reading all weights to tell them apart would take as long as loading them. */
async function fingerprintOf(
  source: ObjectSource,
  configJson: unknown,
  files: readonly string[],
  signal?: AbortSignal,
): Promise<string> {
  const parts: unknown[] = [configJson];
  for (const key of files) parts.push([key, await source.head(key, signal)]);
  return sha256Hex(new TextEncoder().encode(JSON.stringify(parts)));
}

function embeddingDtypeOf(
  byName: ReadonlyMap<string, StoredTensor>,
): 'bfloat16' | 'float16' | 'float32' | undefined {
  const dtype = byName.get('embed_tokens')?.dtype;
  return dtype === 'BF16' || dtype === 'F16' || dtype === 'F32' ? WEIGHT_DTYPES[dtype] : undefined;
}

/** Packed words look the same whatever their order: only the settings tell gemm from gemv. */
async function checkOldQuantFiles(
  source: ObjectSource,
  byName: ReadonlyMap<string, StoredTensor>,
  signal?: AbortSignal,
): Promise<void> {
  if (![...byName.keys()].some((name) => name.endsWith('.qweight'))) return;
  for (const key of OLD_QUANT_FILES) {
    const value = await readJson(source, key, signal);
    if (value !== undefined) checkQuantization(jsonFields(value, key));
  }
}
