import type { ModelConfig, TextConfig, VisionConfig } from './config.ts';

/** A tensor that a checkpoint of this config must hold. */
export interface ExpectedTensor {
  /** Canonical name, as listed in src/weights/checkpoint.ts. */
  readonly name: string;
  readonly shape: readonly number[];
  /**
   * linear: [out, in] of the text model, may be stored as int4.
   * table: [vocabSize, hidden], may have padding rows. plain: exactly this shape.
   */
  readonly kind: 'linear' | 'table' | 'plain';
  readonly part: ModelPart;
}

export type ModelPart = 'embedding' | 'decoder' | 'vision' | 'projector';

/** Every tensor the config demands, in the order a forward pass meets them. */
export function expectedTensors(config: ModelConfig): readonly ExpectedTensor[] {
  const { text, vision } = config;
  return [
    {
      name: 'embed_tokens',
      shape: [text.vocabSize, text.hiddenSize],
      kind: 'table',
      part: 'embedding',
    },
    ...text.layerTypes.flatMap((_, layer) => decoderLayer(text, `layers.${layer}`)),
    plain('norm', [text.hiddenSize], 'decoder'),
    ...(vision === null ? [] : visionTensors(vision)),
    ...(vision === null ? [] : projectorTensors(vision, text.hiddenSize)),
  ];
}

function decoderLayer(text: TextConfig, prefix: string): readonly ExpectedTensor[] {
  const hidden = text.hiddenSize;
  const queries = text.headCount * text.headDim;
  const keys = text.kvHeadCount * text.headDim;
  const linear = (name: string, out: number, inputs: number): ExpectedTensor => ({
    name: `${prefix}.${name}`,
    shape: [out, inputs],
    kind: 'linear',
    part: 'decoder',
  });
  const norm = (name: string, size: number) => plain(`${prefix}.${name}`, [size], 'decoder');
  return [
    norm('input_layernorm', hidden),
    linear('self_attn.q_proj', queries, hidden),
    linear('self_attn.k_proj', keys, hidden),
    linear('self_attn.v_proj', keys, hidden),
    norm('self_attn.q_norm', text.headDim),
    norm('self_attn.k_norm', text.headDim),
    linear('self_attn.o_proj', hidden, queries),
    norm('post_attention_layernorm', hidden),
    norm('pre_feedforward_layernorm', hidden),
    linear('mlp.gate_proj', text.intermediateSize, hidden),
    linear('mlp.up_proj', text.intermediateSize, hidden),
    linear('mlp.down_proj', hidden, text.intermediateSize),
    norm('post_feedforward_layernorm', hidden),
  ];
}

function visionTensors(vision: VisionConfig): readonly ExpectedTensor[] {
  const { hiddenSize: width, patchSize } = vision;
  const patches = (vision.imageSize / patchSize) ** 2;
  return [
    ...weightAndBias('vision.patch_embedding', [width, 3, patchSize, patchSize]),
    plain('vision.position_embedding', [patches, width], 'vision'),
    ...Array.from({ length: vision.layerCount }, (_, layer) =>
      visionLayer(vision, `vision.layers.${layer}`),
    ).flat(),
    ...weightAndBias('vision.post_layernorm', [width]),
  ];
}

function visionLayer(vision: VisionConfig, prefix: string): readonly ExpectedTensor[] {
  const { hiddenSize: width, intermediateSize: inner } = vision;
  return [
    ...weightAndBias(`${prefix}.layer_norm1`, [width]),
    ...weightAndBias(`${prefix}.self_attn.q_proj`, [width, width]),
    ...weightAndBias(`${prefix}.self_attn.k_proj`, [width, width]),
    ...weightAndBias(`${prefix}.self_attn.v_proj`, [width, width]),
    ...weightAndBias(`${prefix}.self_attn.out_proj`, [width, width]),
    ...weightAndBias(`${prefix}.layer_norm2`, [width]),
    ...weightAndBias(`${prefix}.mlp.fc1`, [inner, width]),
    ...weightAndBias(`${prefix}.mlp.fc2`, [width, inner]),
  ];
}

/** The projection is stored [in, out] and used as it is: x @ W. */
function projectorTensors(vision: VisionConfig, hidden: number): readonly ExpectedTensor[] {
  return [
    plain('projector.norm', [vision.hiddenSize], 'projector'),
    plain('projector.weight', [vision.hiddenSize, hidden], 'projector'),
  ];
}

function weightAndBias(name: string, shape: readonly number[]): readonly ExpectedTensor[] {
  return [
    plain(`${name}.weight`, shape, 'vision'),
    plain(`${name}.bias`, shape.slice(0, 1), 'vision'),
  ];
}

function plain(name: string, shape: readonly number[], part: ModelPart): ExpectedTensor {
  return { name, shape, kind: 'plain', part };
}
