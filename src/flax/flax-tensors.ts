import { counted } from '../lib/counted.ts';
import { damaged } from './byte-cursor.ts';
import type { FlaxShape, FlaxVisionShape } from './flax-shape.ts';
import type { OrbaxArray } from './orbax-array.ts';
import { foreignArray } from './param-names.ts';

/** How an array becomes tensors of a Hugging Face checkpoint. */
export type Transform =
  /** Values as they are, in bfloat16. */
  | { readonly type: 'plain' }
  /** The same of the embedding table; followed by rows of zeros. */
  | { readonly type: 'table'; readonly paddingValues: number }
  /** In bfloat16, with dimensions in another order. */
  | {
      readonly type: 'permuted';
      readonly shape: readonly number[];
      readonly order: readonly number[];
    }
  /** int4, stored as [parts, heads, inputs, outputs of a head]: already in AWQ's order. */
  | {
      readonly type: 'inputs-first';
      readonly heads: number;
      readonly inputs: number;
      readonly outputs: number;
    }
  /** int4, stored as [parts, outputs, inputs]. */
  | { readonly type: 'outputs-first'; readonly inputs: number; readonly outputs: number };

export interface FlaxArray {
  readonly array: OrbaxArray;
  /** Its place in a forward pass. */
  readonly order: number;
  readonly transform: Transform;
  /** Hugging Face names; a linear without `.weight`, as it becomes three tensors. */
  readonly names: readonly string[];
  /** Of each tensor; of a linear [outputs, inputs]. */
  readonly shape: readonly number[];
}

/** A parameter that a model of some shape has. */
interface Parameter {
  readonly name: string;
  readonly stored: readonly number[];
  readonly transform: Transform;
  readonly names: readonly string[];
  readonly shape: readonly number[];
}

/** Values that share a scale, and outputs in one packed word: what int4 linears are multiples of. */
const GROUP = 32;
const WORD = 8;

/**
 * Finds every array that the shape demands, checks its own shape, and says what becomes of it.
 * @param vocabSize rows of the table when padded
 * @throws ServeError invalid_checkpoint naming what is missing, wrong or no part of the model
 */
export function matchParameters(
  arrays: ReadonlyMap<string, OrbaxArray>,
  shape: FlaxShape,
  vocabSize: number,
  where: string,
): readonly FlaxArray[] {
  const parameters = [
    ...textParameters(shape, vocabSize),
    ...(shape.vision === null ? [] : visionParameters(shape.vision, shape.hiddenSize)),
  ];
  const missing = parameters.filter(({ name }) => !arrays.has(name));
  if (missing.length > 0) {
    const others = missing.length > 1 ? ` and ${counted(missing.length - 1, 'other')}` : '';
    throw damaged(where, `it has no ${missing[0]?.name}${others}`);
  }
  const known = new Set(parameters.map(({ name }) => name));
  for (const [name, array] of arrays) {
    if (!known.has(name)) throw foreignArray(where, array.name);
  }
  return parameters.map(({ name, stored, ...rest }, order) => {
    const array = arrays.get(name) as OrbaxArray;
    if (array.shape.join() !== stored.join()) {
      throw damaged(
        where,
        `${array.name} is [${array.shape.join(', ')}], but the other arrays demand [${stored.join(', ')}]`,
      );
    }
    const [outputs = 0, inputs = 0] = rest.shape;
    const isInt4 =
      rest.transform.type === 'inputs-first' || rest.transform.type === 'outputs-first';
    if (isInt4 && (outputs % WORD !== 0 || inputs % GROUP !== 0)) {
      throw damaged(
        where,
        `${array.name} has ${inputs} inputs and ${outputs} outputs, which cannot be packed`,
      );
    }
    return { array, order, ...rest };
  });
}

const PLAIN: Transform = { type: 'plain' };

function textParameters(shape: FlaxShape, vocabSize: number): readonly Parameter[] {
  const { hiddenSize: hidden, vocabRows, vision } = shape;
  const prefix = vision === null ? 'model' : 'language_model.model';
  const paddingValues = (vocabSize - vocabRows) * hidden;
  return [
    {
      name: 'embedder.input_embedding',
      stored: [vocabRows, hidden],
      transform: { type: 'table', paddingValues },
      names: [`${prefix}.embed_tokens.weight`],
      shape: [vocabSize, hidden],
    },
    ...Array.from({ length: shape.layerCount }, (_, n) =>
      layerParameters(shape, `layer_${n}`, `${prefix}.layers.${n}`),
    ).flat(),
    plain('final_norm.scale', `${prefix}.norm.weight`, [hidden]),
  ];
}

function layerParameters(shape: FlaxShape, from: string, to: string): readonly Parameter[] {
  const { hiddenSize: hidden, headCount, kvHeadCount, headDim, intermediateSize: inner } = shape;
  const queries = headCount * headDim;
  const norm = (name: string, target: string, size: number): Parameter =>
    plain(`${from}.${name}.scale`, `${to}.${target}.weight`, [size]);
  return [
    norm('pre_attention_norm', 'input_layernorm', hidden),
    {
      name: `${from}.attn.q_einsum.w`,
      stored: [headCount, hidden, headDim],
      transform: inputsFirst(headCount, hidden, headDim),
      names: [`${to}.self_attn.q_proj`],
      shape: [queries, hidden],
    },
    {
      name: `${from}.attn.kv_einsum.w`,
      stored: [2, kvHeadCount, hidden, headDim],
      transform: inputsFirst(kvHeadCount, hidden, headDim),
      names: [`${to}.self_attn.k_proj`, `${to}.self_attn.v_proj`],
      shape: [kvHeadCount * headDim, hidden],
    },
    norm('attn._query_norm', 'self_attn.q_norm', headDim),
    norm('attn._key_norm', 'self_attn.k_norm', headDim),
    {
      name: `${from}.attn.attn_vec_einsum.w`,
      stored: [headCount, headDim, hidden],
      // All heads' values are the inputs, one after the other.
      transform: inputsFirst(1, queries, hidden),
      names: [`${to}.self_attn.o_proj`],
      shape: [hidden, queries],
    },
    norm('post_attention_norm', 'post_attention_layernorm', hidden),
    norm('pre_ffw_norm', 'pre_feedforward_layernorm', hidden),
    {
      name: `${from}.mlp.gating_einsum.w`,
      stored: [2, inner, hidden],
      transform: { type: 'outputs-first', inputs: hidden, outputs: inner },
      names: [`${to}.mlp.gate_proj`, `${to}.mlp.up_proj`],
      shape: [inner, hidden],
    },
    {
      name: `${from}.mlp.linear.w`,
      stored: [inner, hidden],
      transform: inputsFirst(1, inner, hidden),
      names: [`${to}.mlp.down_proj`],
      shape: [hidden, inner],
    },
    norm('post_ffw_norm', 'post_feedforward_layernorm', hidden),
  ];
}

function inputsFirst(heads: number, inputs: number, outputs: number): Transform {
  return { type: 'inputs-first', heads, inputs, outputs };
}

function visionParameters(vision: FlaxVisionShape, hidden: number): readonly Parameter[] {
  const { hiddenSize: width, patchSize, imageSize } = vision;
  const to = 'vision_tower.vision_model';
  const patches = (imageSize / patchSize) ** 2;
  return [
    plain(
      'embedder.mm_soft_embedding_norm.scale',
      'multi_modal_projector.mm_soft_emb_norm.weight',
      [width],
    ),
    plain('embedder.mm_input_projection.w', 'multi_modal_projector.mm_input_projection_weight', [
      width,
      hidden,
    ]),
    // Convolution kernels: from (y, x, color, output) to (output, color, y, x).
    permuted(
      'vision.embedding.kernel',
      `${to}.embeddings.patch_embedding.weight`,
      [patchSize, patchSize, 3, width],
      [3, 2, 0, 1],
    ),
    plain('vision.embedding.bias', `${to}.embeddings.patch_embedding.bias`, [width]),
    {
      ...plain('vision.pos_embedding', `${to}.embeddings.position_embedding.weight`, [
        patches,
        width,
      ]),
      stored: [1, patches, width],
    },
    ...Array.from({ length: vision.layerCount }, (_, n) =>
      blockParameters(vision, `vision.Transformer.encoderblock_${n}`, `${to}.encoder.layers.${n}`),
    ).flat(),
    plain('vision.Transformer.encoder_norm.scale', `${to}.post_layernorm.weight`, [width]),
    plain('vision.Transformer.encoder_norm.bias', `${to}.post_layernorm.bias`, [width]),
  ];
}

function blockParameters(vision: FlaxVisionShape, from: string, to: string): readonly Parameter[] {
  const { hiddenSize: width, headCount: heads, intermediateSize: inner } = vision;
  const size = width / heads;
  const norm = (name: string, target: string): readonly Parameter[] => [
    plain(`${from}.${name}.scale`, `${to}.${target}.weight`, [width]),
    plain(`${from}.${name}.bias`, `${to}.${target}.bias`, [width]),
  ];
  const attention = `${from}.MultiHeadDotProductAttention_0`;
  const projection = (name: string, target: string): readonly Parameter[] => [
    {
      ...permuted(
        `${attention}.${name}.kernel`,
        `${to}.self_attn.${target}.weight`,
        [width, width],
        [1, 0],
      ),
      stored: [width, heads, size],
    },
    {
      ...plain(`${attention}.${name}.bias`, `${to}.self_attn.${target}.bias`, [width]),
      stored: [heads, size],
    },
  ];
  const dense = (name: string, target: string, inputs: number, outputs: number) => [
    permuted(
      `${from}.MlpBlock_0.${name}.kernel`,
      `${to}.mlp.${target}.weight`,
      [inputs, outputs],
      [1, 0],
    ),
    plain(`${from}.MlpBlock_0.${name}.bias`, `${to}.mlp.${target}.bias`, [outputs]),
  ];
  return [
    ...norm('LayerNorm_0', 'layer_norm1'),
    ...projection('query', 'q_proj'),
    ...projection('key', 'k_proj'),
    ...projection('value', 'v_proj'),
    {
      ...permuted(
        `${attention}.out.kernel`,
        `${to}.self_attn.out_proj.weight`,
        [width, width],
        [1, 0],
      ),
      stored: [heads, size, width],
    },
    plain(`${attention}.out.bias`, `${to}.self_attn.out_proj.bias`, [width]),
    ...norm('LayerNorm_1', 'layer_norm2'),
    ...dense('Dense_0', 'fc1', width, inner),
    ...dense('Dense_1', 'fc2', inner, width),
  ];
}

function plain(name: string, target: string, shape: readonly number[]): Parameter {
  return { name, stored: shape, transform: PLAIN, names: [target], shape };
}

/** @param shape as stored, which `order` permutes */
function permuted(
  name: string,
  target: string,
  shape: readonly number[],
  order: readonly number[],
): Parameter {
  return {
    name,
    stored: shape,
    transform: { type: 'permuted', shape, order },
    names: [target],
    shape: order.map((i) => shape[i] ?? 1),
  };
}
