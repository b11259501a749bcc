import { ServeError } from '../errors.ts';
import type { FlaxShape, FlaxVisionShape } from './flax-shape.ts';

/** Small files that make a folder of tensors a Hugging Face checkpoint, by name. */
export type ConfigFiles = Readonly<Record<string, unknown>>;

export const QUANTIZATION_CONFIG: Readonly<Record<string, unknown>> = {
  quant_method: 'awq',
  bits: 4,
  group_size: 32,
  zero_point: true,
  version: 'gemm',
};

/** What shapes do not tell, of each published size. */
interface Size {
  readonly name: string;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly windowTokens: number;
  readonly maxPositions: number;
  /** Divides the frequencies of global layers; 1 is off. */
  readonly ropeFactor: number;
  /** query_pre_attn_scalar */
  readonly queryScalar: number;
}

const SIZES: readonly Size[] = [
  size('270m', 640, 18, 4, 512, 32_768, 1, 256),
  size('1b', 1152, 26, 4, 512, 32_768, 1, 256),
  size('4b', 2560, 34, 8, 1024, 131_072, 8, 256),
  size('12b', 3840, 48, 16, 1024, 131_072, 8, 256),
  size('27b', 5376, 62, 32, 1024, 131_072, 8, 168),
];

function size(
  name: string,
  hiddenSize: number,
  layerCount: number,
  headCount: number,
  windowTokens: number,
  maxPositions: number,
  ropeFactor: number,
  queryScalar: number,
): Size {
  return {
    name,
    hiddenSize,
    layerCount,
    headCount,
    windowTokens,
    maxPositions,
    ropeFactor,
    queryScalar,
  };
}

/** Rows that Hugging Face's multimodal checkpoints have more than Google's: image tokens lie there. */
const PADDING_ROWS = 64;
const TOKENS_PER_IMAGE = 256;
const END_OF_TEXT = [1, 106];

/**
 * config.json and what belongs to it, for the published sizes.
 * @throws ServeError unsupported_model for any other shape
 */
export function configFiles(shape: FlaxShape): ConfigFiles {
  const known = SIZES.find(
    (candidate) =>
      candidate.hiddenSize === shape.hiddenSize &&
      candidate.layerCount === shape.layerCount &&
      candidate.headCount === shape.headCount,
  );
  if (known === undefined) {
    const sizes = SIZES.map(({ name }) => name).join(', ');
    throw new ServeError(
      'unsupported_model',
      `The checkpoint has ${shape.layerCount} layers of width ${shape.hiddenSize} and ${shape.headCount} heads: this is none of Gemma 3's sizes (${sizes}), whose window and positions are known. Give a folder with its config.json by --config.`,
    );
  }
  const text = {
    model_type: 'gemma3_text',
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.intermediateSize,
    num_hidden_layers: shape.layerCount,
    num_attention_heads: shape.headCount,
    num_key_value_heads: shape.kvHeadCount,
    head_dim: shape.headDim,
    query_pre_attn_scalar: known.queryScalar,
    sliding_window: known.windowTokens,
    sliding_window_pattern: 6,
    max_position_embeddings: known.maxPositions,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
    rope_scaling: known.ropeFactor === 1 ? null : { factor: known.ropeFactor, rope_type: 'linear' },
    rms_norm_eps: 1e-6,
    hidden_activation: 'gelu_pytorch_tanh',
    attention_bias: false,
    vocab_size: shape.vocabRows + (shape.vision === null ? 0 : PADDING_ROWS),
    bos_token_id: 2,
    pad_token_id: 0,
  };
  const common = { torch_dtype: 'bfloat16', tie_word_embeddings: true, eos_token_id: END_OF_TEXT };
  const config =
    shape.vision === null
      ? {
          architectures: ['Gemma3ForCausalLM'],
          ...text,
          ...common,
          quantization_config: { ...QUANTIZATION_CONFIG, modules_to_not_convert: null },
        }
      : {
          architectures: ['Gemma3ForConditionalGeneration'],
          model_type: 'gemma3',
          ...common,
          // Their embeddings end the table; the image token's lies in the padding.
          boi_token_index: 255_999,
          eoi_token_index: 256_000,
          image_token_index: shape.vocabRows,
          mm_tokens_per_image: TOKENS_PER_IMAGE,
          text_config: text,
          vision_config: visionConfig(shape.vision),
          quantization_config: {
            ...QUANTIZATION_CONFIG,
            modules_to_not_convert: ['vision_tower', 'multi_modal_projector'],
          },
        };
  return {
    'config.json': config,
    'generation_config.json': {
      bos_token_id: 2,
      cache_implementation: 'hybrid',
      do_sample: true,
      eos_token_id: END_OF_TEXT,
      pad_token_id: 0,
      temperature: 1,
      top_k: 64,
      top_p: 0.95,
    },
    ...(shape.vision === null ? {} : processorFiles(shape.vision)),
  };
}

function visionConfig(vision: FlaxVisionShape): Readonly<Record<string, unknown>> {
  return {
    model_type: 'siglip_vision_model',
    hidden_size: vision.hiddenSize,
    intermediate_size: vision.intermediateSize,
    num_hidden_layers: vision.layerCount,
    num_attention_heads: vision.headCount,
    image_size: vision.imageSize,
    patch_size: vision.patchSize,
    num_channels: 3,
    hidden_act: 'gelu_pytorch_tanh',
    layer_norm_eps: 1e-6,
    vision_use_head: false,
  };
}

function processorFiles({ imageSize }: FlaxVisionShape): ConfigFiles {
  return {
    'preprocessor_config.json': {
      do_convert_rgb: null,
      do_normalize: true,
      do_pan_and_scan: null,
      do_rescale: true,
      do_resize: true,
      image_mean: [0.5, 0.5, 0.5],
      image_processor_type: 'Gemma3ImageProcessor',
      image_seq_length: TOKENS_PER_IMAGE,
      image_std: [0.5, 0.5, 0.5],
      pan_and_scan_max_num_crops: null,
      pan_and_scan_min_crop_size: null,
      pan_and_scan_min_ratio_to_activate: null,
      processor_class: 'Gemma3Processor',
      resample: 2,
      rescale_factor: 1 / 255,
      size: { height: imageSize, width: imageSize },
    },
    'processor_config.json': {
      image_seq_length: TOKENS_PER_IMAGE,
      processor_class: 'Gemma3Processor',
    },
  };
}
