import type { VisionConfig } from './config.ts';
import type { JsonFields } from './json-fields.ts';

/** SigLIP's own defaults (transformers `SiglipVisionConfig`), not those of Gemma's tower. */
const DEFAULTS = {
  hiddenSize: 768,
  intermediateSize: 3072,
  layerCount: 12,
  headCount: 12,
  imageSize: 224,
  patchSize: 16,
  layerNormEps: 1e-6,
} as const;

const SIZE = { min: 1, max: 2 ** 20 } as const;
const TOKEN_ID = { min: 0, max: 2 ** 31 - 1 } as const;

/**
 * @param top config.json, which holds the image token ids
 * @param vision its `vision_config`
 * @throws ServeError invalid_checkpoint, unsupported_model
 */
export function parseVisionConfig(
  top: JsonFields,
  vision: JsonFields,
  vocabSize: number,
): VisionConfig {
  const modelType = vision.text('model_type') ?? 'siglip_vision_model';
  if (modelType !== 'siglip_vision_model') {
    throw vision.error('model_type', 'must be siglip_vision_model', 'unsupported_model');
  }
  const activation = vision.text('hidden_act') ?? 'gelu_pytorch_tanh';
  if (activation !== 'gelu_pytorch_tanh') {
    throw vision.error('hidden_act', 'must be gelu_pytorch_tanh', 'unsupported_model');
  }
  if (vision.integer('num_channels', SIZE, 3) !== 3) {
    throw vision.error('num_channels', 'must be 3 (RGB)', 'unsupported_model');
  }
  const config: VisionConfig = {
    hiddenSize: vision.integer('hidden_size', SIZE, DEFAULTS.hiddenSize),
    layerCount: vision.integer('num_hidden_layers', SIZE, DEFAULTS.layerCount),
    headCount: vision.integer('num_attention_heads', SIZE, DEFAULTS.headCount),
    intermediateSize: vision.integer('intermediate_size', SIZE, DEFAULTS.intermediateSize),
    imageSize: vision.integer('image_size', SIZE, DEFAULTS.imageSize),
    patchSize: vision.integer('patch_size', SIZE, DEFAULTS.patchSize),
    layerNormEps: vision.number('layer_norm_eps', { min: 0, max: 1 }, DEFAULTS.layerNormEps),
    tokensPerImage: top.integer('mm_tokens_per_image', SIZE, 256),
    beginImageId: top.integer(['boi_token_index', 'boi_token_id'], TOKEN_ID, 255_999),
    endImageId: top.integer(['eoi_token_index', 'eoi_token_id'], TOKEN_ID, 256_000),
    imageTokenId: top.integer(['image_token_index', 'image_token_id'], TOKEN_ID, 262_144),
  };
  checkShape(config, top, vision);
  if (config.imageTokenId >= vocabSize) {
    throw top.error(
      ['image_token_index', 'image_token_id'],
      `must be a row of the vocabulary (0 to ${vocabSize - 1})`,
    );
  }
  return config;
}

function checkShape(config: VisionConfig, top: JsonFields, vision: JsonFields): void {
  if (config.hiddenSize % config.headCount !== 0) {
    throw vision.error('num_attention_heads', `must divide hidden_size ${config.hiddenSize}`);
  }
  if (config.imageSize % config.patchSize !== 0) {
    throw vision.error('patch_size', `must divide image_size ${config.imageSize}`);
  }
  // The projector pools a square grid of patches to a square grid of tokens.
  const patchesPerSide = config.imageSize / config.patchSize;
  const tokensPerSide = Math.sqrt(config.tokensPerImage);
  if (!Number.isInteger(tokensPerSide) || patchesPerSide % tokensPerSide !== 0) {
    throw top.error(
      'mm_tokens_per_image',
      `must be a square number whose root divides the ${patchesPerSide} patches of an image side`,
    );
  }
}
