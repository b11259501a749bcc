import { ServeError } from '../errors.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';
import { parseModelConfig } from '../model/parse-config.ts';
import type { ModelConfig } from '../model/config.ts';
import { damaged } from './byte-cursor.ts';
import { configFiles, QUANTIZATION_CONFIG, type ConfigFiles } from './flax-config.ts';
import { readFlaxShape, type FlaxShape } from './flax-shape.ts';
import { matchParameters } from './flax-tensors.ts';
import { compareByPlace, storedBytes, type OrbaxCheckpoint } from './orbax-array.ts';
import { nameParameters } from './param-names.ts';
import { planShards, type PlannedShard } from './planned-shards.ts';

/** Everything that is decided before a value is read. */
export interface ConversionPlan {
  /** The checkpoint it reads. */
  readonly name: string;
  readonly shape: FlaxShape;
  readonly config: ModelConfig;
  readonly shards: readonly PlannedShard[];
  /** Small files by name, the index of the shards among them. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Bytes to read. */
  readonly sourceBytes: number;
  /** Of all tensors. */
  readonly tensorBytes: number;
  /** Equal where the same conversion of the same checkpoint may go on. */
  readonly fingerprint: string;
}

export interface PlanOptions {
  /** config.json and its like, taken as they are instead of derived from the shapes. */
  readonly config?: ConfigFiles;
  /** Most bytes of tensors in one shard; a larger tensor has one of its own. */
  readonly shardBytes?: number;
}

/** A run that was killed does at most one shard again. */
const SHARD_BYTES = 2 ** 30;
const INDEX_FILE = 'model.safetensors.index.json';

/**
 * Decides what a Flax checkpoint becomes: tensors with names and dtypes as in the published AWQ
 * checkpoints, in shards that follow the order in which the source lies.
 * @throws ServeError invalid_checkpoint, unsupported_model
 */
export async function planConversion(
  orbax: OrbaxCheckpoint,
  options: PlanOptions = {},
): Promise<ConversionPlan> {
  const arrays = nameParameters(orbax);
  const shape = readFlaxShape(arrays, orbax.name);
  const jsons = options.config === undefined ? configFiles(shape) : withAwq(options.config);
  const config = parseModelConfig(jsons['config.json'], {
    generationConfig: jsons['generation_config.json'],
  });
  checkConfig(shape, config, orbax.name);
  const matched = matchParameters(arrays, shape, config.text.vocabSize, orbax.name);
  const ordered = matched.toSorted((a, b) => compareByPlace(a.array, b.array));
  const shards = planShards(ordered, options.shardBytes ?? SHARD_BYTES);
  const tensorBytes = shards.reduce((sum, shard) => sum + shard.tensorBytes, 0);
  const files = new Map(Object.entries(jsons).map(([name, json]) => [name, encodeJson(json)]));
  if (shards.length > 1) files.set(INDEX_FILE, encodeJson(indexOf(shards, tensorBytes)));
  const content = JSON.stringify([
    orbax.fingerprint,
    jsons,
    shards.map(({ file, tensors }) => [file, tensors]),
  ]);
  return {
    name: orbax.name,
    shape,
    config,
    shards,
    files,
    sourceBytes: matched.reduce((sum, { array }) => sum + storedBytes(array), 0),
    tensorBytes,
    fingerprint: await sha256Hex(new TextEncoder().encode(content)),
  };
}

function withAwq(files: ConfigFiles): ConfigFiles {
  const config = files['config.json'];
  if (typeof config !== 'object' || config === null) {
    throw new ServeError('invalid_checkpoint', 'config.json must be a JSON object');
  }
  const given = (config as { readonly quantization_config?: object }).quantization_config;
  return {
    ...files,
    'config.json': { ...config, quantization_config: { ...given, ...QUANTIZATION_CONFIG } },
  };
}

/** A given config may be that of another model. */
function checkConfig(shape: FlaxShape, { text, vision }: ModelConfig, where: string): void {
  const pairs: readonly (readonly [string, number, number])[] = [
    ['hidden_size', shape.hiddenSize, text.hiddenSize],
    ['num_hidden_layers', shape.layerCount, text.layerCount],
    ['num_attention_heads', shape.headCount, text.headCount],
    ['num_key_value_heads', shape.kvHeadCount, text.kvHeadCount],
    ['head_dim', shape.headDim, text.headDim],
    ['intermediate_size', shape.intermediateSize, text.intermediateSize],
    ...(vision === null || shape.vision === null
      ? []
      : ([
          ['vision_config.hidden_size', shape.vision.hiddenSize, vision.hiddenSize],
          ['vision_config.num_hidden_layers', shape.vision.layerCount, vision.layerCount],
          ['vision_config.num_attention_heads', shape.vision.headCount, vision.headCount],
          [
            'vision_config.intermediate_size',
            shape.vision.intermediateSize,
            vision.intermediateSize,
          ],
          ['vision_config.patch_size', shape.vision.patchSize, vision.patchSize],
          ['vision_config.image_size', shape.vision.imageSize, vision.imageSize],
        ] as const)),
  ];
  for (const [key, found, wanted] of pairs) {
    if (found === wanted) continue;
    throw new ServeError(
      'invalid_checkpoint',
      `${where} has ${key} ${found} by its shapes, but config.json says ${wanted}: take the config.json of this model`,
    );
  }
  if ((vision === null) !== (shape.vision === null)) {
    const has = shape.vision === null ? 'has no vision tower' : 'has a vision tower';
    throw damaged(where, `it ${has}, unlike its config.json`);
  }
  if (text.vocabSize >= shape.vocabRows) return;
  throw damaged(
    where,
    `its table has ${shape.vocabRows} rows, but config.json says ${text.vocabSize}`,
  );
}

function indexOf(shards: readonly PlannedShard[], totalSize: number): unknown {
  const weightMap: Record<string, string> = {};
  for (const { file, tensors } of shards) for (const { name } of tensors) weightMap[name] = file;
  return { metadata: { total_size: totalSize }, weight_map: weightMap };
}

function encodeJson(json: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`);
}
