import { checkArchitecture } from './architecture.ts';
import type { ModelConfig, TextConfig } from './config.ts';
import { embeddingScale } from './embedding-scale.ts';
import type { WeightDtype } from './embedding-scale.ts';
import { jsonFields } from './json-fields.ts';
import type { JsonFields } from './json-fields.ts';
import { parseLayerTypes, parseRope } from './parse-rope.ts';
import { parseVisionConfig } from './parse-vision-config.ts';
import { checkQuantization } from './quantization.ts';

export interface ParseConfigOptions {
  /** The parsed generation_config.json; its end-of-sequence ids go before config.json's. */
  readonly generationConfig?: unknown;
  /** Dtype of the stored embedding table, used where config.json names none; default bfloat16. */
  readonly embeddingDtype?: WeightDtype;
}

const SIZE = { min: 1, max: 2 ** 20 } as const;
const VOCAB = { min: 1, max: 2 ** 24 } as const;
const TOKEN_ID = { min: 0, max: 2 ** 31 - 1 } as const;
const POSITIVE = { min: Number.MIN_VALUE, max: 1e9 } as const;

/**
 * Reads a Hugging Face config.json of Gemma 3, multimodal or text only, as written by any version
 * of transformers. Absent keys take the reference's defaults: hub configs store only what differs.
 * @param configJson the parsed file
 * @throws ServeError invalid_checkpoint naming the key; unsupported_model naming what is refused
 */
export function parseModelConfig(
  configJson: unknown,
  options: ParseConfigOptions = {},
): ModelConfig {
  const top = jsonFields(configJson, 'config.json');
  checkArchitecture(top);
  const quantization = top.object('quantization_config');
  if (quantization !== null) checkQuantization(quantization);

  const text = top.object('text_config') ?? top;
  const generation =
    options.generationConfig === undefined || options.generationConfig === null
      ? null
      : jsonFields(options.generationConfig, 'generation_config.json');
  const sources = generation === null ? [top, text] : [generation, top, text];
  const config = parseTextConfig(text, {
    dtype: parseDtype([top, text], options.embeddingDtype ?? 'bfloat16'),
    bosId: firstId(sources, 'bos_token_id', 2),
    padId: firstId(sources, 'pad_token_id', 0),
    eosIds: eosIds(sources),
  });
  const vision = top.object('vision_config');
  return {
    text: config,
    vision: vision === null ? null : parseVisionConfig(top, vision, config.vocabSize),
  };
}

/** False only where config.json says that the head has weights of its own. */
export function hasTiedHead(configJson: unknown): boolean {
  const top = jsonFields(configJson, 'config.json');
  const text = top.object('text_config') ?? top;
  const owner = top.has('tie_word_embeddings') ? top : text;
  return owner.boolean('tie_word_embeddings', true);
}

interface SharedFields {
  readonly dtype: WeightDtype;
  readonly bosId: number;
  readonly padId: number;
  readonly eosIds: readonly number[];
}

function parseTextConfig(text: JsonFields, shared: SharedFields): TextConfig {
  const hiddenSize = text.integer('hidden_size', SIZE, 2304);
  const layerCount = text.integer('num_hidden_layers', { min: 1, max: 4096 }, 26);
  const config: TextConfig = {
    vocabSize: text.integer('vocab_size', VOCAB, 262_208),
    hiddenSize,
    layerCount,
    headCount: text.integer('num_attention_heads', SIZE, 8),
    kvHeadCount: text.integer('num_key_value_heads', SIZE, 4),
    headDim: text.integer('head_dim', SIZE, 256),
    intermediateSize: text.integer('intermediate_size', SIZE, 9216),
    attentionScale: text.number('query_pre_attn_scalar', POSITIVE, 256) ** -0.5,
    windowTokens: text.integer('sliding_window', { min: 1, max: 2 ** 24 }, 4096),
    layerTypes: parseLayerTypes(text, layerCount),
    rmsNormEps: text.number('rms_norm_eps', { min: 0, max: 1 }, 1e-6),
    rope: parseRope(text),
    maxPositions: text.integer('max_position_embeddings', { min: 1, max: 2 ** 30 }, 131_072),
    embeddingScale: embeddingScale(hiddenSize, shared.dtype),
    attentionSoftcap: softcap(text, 'attn_logit_softcapping'),
    logitSoftcap: softcap(text, 'final_logit_softcapping'),
    bosId: shared.bosId,
    padId: shared.padId,
    eosIds: shared.eosIds,
  };
  if (config.headCount % config.kvHeadCount !== 0) {
    throw text.error('num_key_value_heads', `must divide num_attention_heads ${config.headCount}`);
  }
  if (config.headDim % 2 !== 0) throw text.error('head_dim', 'must be even');
  const activation = text.text(['hidden_activation', 'hidden_act']) ?? 'gelu_pytorch_tanh';
  if (activation !== 'gelu_pytorch_tanh') {
    const key = ['hidden_activation', 'hidden_act'];
    throw text.error(key, 'must be gelu_pytorch_tanh', 'unsupported_model');
  }
  if (text.boolean('attention_bias', false)) {
    throw text.error('attention_bias', 'must be false', 'unsupported_model');
  }
  return config;
}

function softcap(text: JsonFields, key: string): number | null {
  return text.has(key) ? text.number(key, POSITIVE) : null;
}

function parseDtype(sources: readonly JsonFields[], fallback: WeightDtype): WeightDtype {
  const key = ['dtype', 'torch_dtype'];
  const fields = sources.find((source) => source.has(key));
  if (fields === undefined) return fallback;
  const dtype = (fields.text(key) ?? '').replace(/^torch\./, '');
  if (dtype === 'bfloat16' || dtype === 'float16' || dtype === 'float32') return dtype;
  throw fields.error(key, 'must be bfloat16, float16 or float32', 'unsupported_model');
}

function firstId(sources: readonly JsonFields[], key: string, fallback: number): number {
  const fields = sources.find((source) => source.has(key));
  return fields === undefined ? fallback : fields.integer(key, TOKEN_ID);
}

/** The first file that names any wins as a whole, as in the reference; they are not merged. */
function eosIds(sources: readonly JsonFields[]): readonly number[] {
  for (const fields of sources) {
    const ids = fields.integers('eos_token_id', TOKEN_ID);
    if (ids !== null) return [...new Set(ids)];
  }
  return [1];
}
