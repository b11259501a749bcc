import type { ModelConfig } from '../../src/model/config.ts';
import { parseModelConfig } from '../../src/model/parse-config.ts';
import { expectedTensors } from '../../src/model/tensor-shapes.ts';
import type { ExpectedTensor } from '../../src/model/tensor-shapes.ts';
import { awqTensors, floatTensor } from './safetensors-writer.ts';
import type { TensorToWrite } from './safetensors-writer.ts';

export interface SyntheticOptions {
  /** Prefixes of stored names. */
  readonly names: 'old' | 'new' | 'text';
  /** null stores linears as plain floats. */
  readonly groupSize: 32 | 64 | 128 | null;
  readonly floatDtype?: 'BF16' | 'F16' | 'F32';
  readonly scaleDtype?: 'BF16' | 'F16' | 'F32';
  /** Zero points: all 8, or anything. */
  readonly zeros?: 'eight' | 'random';
  readonly paddingRows?: number;
  readonly seed?: number;
}

export interface Synthetic {
  readonly configJson: Record<string, unknown>;
  readonly config: ModelConfig;
  /** By stored name. */
  readonly tensors: Record<string, TensorToWrite>;
  /** By canonical name, dequantised, in canonical [out, in] order. */
  readonly values: ReadonlyMap<string, Float32Array>;
}

/** A random model in true layout, small but wide enough for groups of 128. */
export function syntheticCheckpoint(options: SyntheticOptions): Synthetic {
  const configJson = syntheticConfig(options.names !== 'text');
  const config = parseModelConfig(configJson);
  const random = generator(options.seed ?? 1);
  const values = new Map<string, Float32Array>();
  const tensors: Record<string, TensorToWrite> = {};
  for (const tensor of expectedTensors(config)) {
    const stored = storedName(tensor.name, options.names);
    if (tensor.kind === 'linear' && options.groupSize !== null) {
      const linear = randomLinear(tensor, options.groupSize, options, random);
      Object.assign(tensors, awqTensors(stored.replace(/\.weight$/, ''), linear.awq));
      values.set(tensor.name, linear.values);
      continue;
    }
    const padding = tensor.kind === 'table' ? (options.paddingRows ?? 0) : 0;
    const shape = [(tensor.shape[0] ?? 0) + padding, ...tensor.shape.slice(1)];
    const size = shape.reduce((product, dimension) => product * dimension, 1);
    const floats = Float32Array.from(
      { length: size },
      () => (Math.floor(random() * 255) - 127) / 64,
    );
    tensors[stored] = floatTensor(options.floatDtype ?? 'BF16', shape, floats);
    values.set(tensor.name, floats);
  }
  return { configJson, config, tensors, values };
}

function syntheticConfig(withVision: boolean): Record<string, unknown> {
  const text = {
    model_type: 'gemma3_text',
    vocab_size: 40,
    hidden_size: 128,
    intermediate_size: 256,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    head_dim: 64,
    sliding_window: 16,
  };
  if (!withVision) return { ...text, architectures: ['Gemma3ForCausalLM'] };
  return {
    model_type: 'gemma3',
    mm_tokens_per_image: 4,
    boi_token_index: 37,
    eoi_token_index: 38,
    image_token_index: 39,
    text_config: text,
    vision_config: {
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      image_size: 16,
      patch_size: 4,
    },
  };
}

/** The inverse of `canonicalName`, written down apart from it. */
export function storedName(canonical: string, names: SyntheticOptions['names']): string {
  const [text, vision, projector] = {
    old: ['language_model.model.', 'vision_tower.vision_model.', 'multi_modal_projector.'],
    new: ['model.language_model.', 'model.vision_tower.', 'model.multi_modal_projector.'],
    text: ['model.', '', ''],
  }[names] as [string, string, string];
  if (canonical === 'lm_head')
    return names === 'old' ? 'language_model.lm_head.weight' : 'lm_head.weight';
  if (canonical === 'projector.weight') return `${projector}mm_input_projection_weight`;
  if (canonical === 'projector.norm') return `${projector}mm_soft_emb_norm.weight`;
  if (canonical === 'vision.position_embedding')
    return `${vision}embeddings.position_embedding.weight`;
  if (canonical.startsWith('vision.layers.'))
    return `${vision}encoder.${canonical.slice('vision.'.length)}`;
  if (canonical.startsWith('vision.patch'))
    return `${vision}embeddings.${canonical.slice('vision.'.length)}`;
  if (canonical.startsWith('vision.')) return `${vision}${canonical.slice('vision.'.length)}`;
  return `${text}${canonical}.weight`;
}

function randomLinear(
  { shape: [outFeatures = 0, inFeatures = 0] }: ExpectedTensor,
  groupSize: number,
  { zeros: zeroKind = 'eight', scaleDtype = 'BF16' }: SyntheticOptions,
  random: () => number,
) {
  const groups = inFeatures / groupSize;
  const nibbles = Uint8Array.from({ length: inFeatures * outFeatures }, () => random() * 16);
  const zeros = Uint8Array.from({ length: groups * outFeatures }, () =>
    zeroKind === 'eight' ? 8 : random() * 16,
  );
  // Seven bits of mantissa: exact in every float type.
  const scales = Float32Array.from(
    { length: groups * outFeatures },
    () => (1 + Math.floor(random() * 127)) / 1024,
  );
  const values = new Float32Array(outFeatures * inFeatures);
  for (let n = 0; n < outFeatures; n++) {
    for (let k = 0; k < inFeatures; k++) {
      const at = Math.floor(k / groupSize) * outFeatures + n;
      values[n * inFeatures + k] =
        ((nibbles[k * outFeatures + n] ?? 0) - (zeros[at] ?? 0)) * (scales[at] ?? 0);
    }
  }
  return {
    awq: { inFeatures, outFeatures, groupSize, nibbles, zeros, scales, scaleDtype },
    values,
  };
}

/** 0 <= x < 1, the same for the same seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
