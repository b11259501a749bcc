import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bytesOf } from './file-sink.ts';
import { randomWeights } from './random-weights.ts';
import type { EmbeddingTensor, WeightTensor } from './random-weights.ts';
import { fileTensor, writeSafetensors } from './safetensors-file.ts';
import type { FileTensor } from './safetensors-file.ts';
import { GROUP_SIZE, LAYER_PATTERN } from './shapes.ts';
import type { TextShape } from './shapes.ts';

/** Shards end before they would grow past this, so that readers of several files are exercised. */
const SHARD_BYTES = 1_000_000_000;

interface Shard {
  readonly file: string;
  readonly weights: WeightTensor[];
}

/**
 * Writes a text-only checkpoint as Hugging Face lays it out: config.json, AWQ linears (group 32,
 * bf16 scales, zero points 8), bf16 norms and embedding, safetensors shards and their index.
 * Holds one tensor in memory at a time.
 */
export function writeRandomCheckpoint(folder: string, shape: TextShape, seed: string): void {
  mkdirSync(folder, { recursive: true });
  const weightMap: Record<string, string> = {};
  let totalSize = 0;
  for (const shard of planShards(shape, seed)) {
    for (const tensor of shard.weights.flatMap(fileTensors)) {
      weightMap[tensor.name] = shard.file;
      totalSize += tensor.sizeBytes;
    }
    writeSafetensors(join(folder, shard.file), shard.weights.flatMap(fileTensors), (write) => {
      for (const weight of shard.weights) writeWeight(weight, write);
    });
  }
  const index = { metadata: { total_size: totalSize }, weight_map: weightMap };
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index, null, 1));
  writeFileSync(join(folder, 'config.json'), JSON.stringify(configOf(shape), null, 2));
}

/** Only keys that differ from the architecture's defaults, as the hub's own files have it. */
export function configOf(shape: TextShape): Readonly<Record<string, unknown>> {
  return {
    architectures: ['Gemma3ForCausalLM'],
    model_type: 'gemma3_text',
    vocab_size: shape.vocabSize,
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.intermediateSize,
    num_hidden_layers: shape.layerCount,
    num_attention_heads: shape.headCount,
    num_key_value_heads: shape.kvHeadCount,
    head_dim: shape.headDim,
    query_pre_attn_scalar: shape.headDim,
    sliding_window: shape.windowTokens,
    sliding_window_pattern: LAYER_PATTERN,
    max_position_embeddings: shape.maxPositions,
    ...(shape.ropeFactor === 1
      ? {}
      : { rope_scaling: { rope_type: 'linear', factor: shape.ropeFactor } }),
    torch_dtype: 'bfloat16',
    quantization_config: {
      quant_method: 'awq',
      bits: 4,
      group_size: GROUP_SIZE,
      zero_point: true,
      version: 'gemm',
      modules_to_not_convert: null,
    },
  };
}

function planShards(shape: TextShape, seed: string): Shard[] {
  const shards: Shard[] = [];
  let sizeBytes = Infinity;
  for (const weight of randomWeights(shape, seed)) {
    const weightBytes = fileTensors(weight).reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
    if (sizeBytes + weightBytes > SHARD_BYTES) {
      const number = String(shards.length + 1).padStart(5, '0');
      shards.push({ file: `model-${number}.safetensors`, weights: [] });
      sizeBytes = 0;
    }
    sizeBytes += weightBytes;
    shards.at(-1)?.weights.push(weight);
  }
  return shards;
}

function fileTensors(weight: WeightTensor): FileTensor[] {
  const name = `model.${weight.name}`;
  if (weight.type === 'embedding') {
    return [fileTensor(`${name}.weight`, 'BF16', [weight.rows, weight.columns])];
  }
  if (weight.type === 'norm') return [fileTensor(`${name}.weight`, 'BF16', [weight.size])];
  const groups = weight.inFeatures / GROUP_SIZE;
  return [
    fileTensor(`${name}.qweight`, 'I32', [weight.inFeatures, weight.outFeatures / 8]),
    fileTensor(`${name}.qzeros`, 'I32', [groups, weight.outFeatures / 8]),
    fileTensor(`${name}.scales`, 'BF16', [groups, weight.outFeatures]),
  ];
}

function writeWeight(weight: WeightTensor, write: (bytes: Uint8Array) => void): void {
  if (weight.type === 'norm') {
    write(bytesOf(weight.make()));
  } else if (weight.type === 'linear') {
    const { words, scales } = weight.make();
    write(bytesOf(words));
    const zeroWords = (weight.inFeatures / GROUP_SIZE) * (weight.outFeatures / 8);
    write(bytesOf(new Uint32Array(zeroWords).fill(0x88888888)));
    write(bytesOf(scales));
  } else {
    writeEmbedding(weight, write);
  }
}

function writeEmbedding(tensor: EmbeddingTensor, write: (bytes: Uint8Array) => void): void {
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  for (let block = 0; block * tensor.blockRows < tensor.rows; block += 1) {
    const { values, exponents } = tensor.make(block);
    const out = new Uint16Array(values.length);
    for (let group = 0; group < exponents.length; group += 1) {
      const step = 2 ** (exponents[group] ?? 0);
      for (let i = group * GROUP_SIZE; i < (group + 1) * GROUP_SIZE; i += 1) {
        // Seven bits and a power of two: the upper half of the fp32 is the whole number.
        float[0] = (values[i] ?? 0) * step;
        out[i] = (bits[0] ?? 0) >>> 16;
      }
    }
    write(bytesOf(out));
  }
}
