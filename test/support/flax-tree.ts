import type { ModelConfig } from '../../src/model/config.ts';
import { expectedTensors } from '../../src/model/tensor-shapes.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { dequantize } from './dequantize.ts';
import type { ArrayToWrite } from './orbax/orbax-writer.ts';

/** A model's values by canonical name, linears dequantised, in the order of canonical shapes. */
export type ModelValues = ReadonlyMap<string, Float32Array>;

export async function valuesOf(checkpoint: Checkpoint): Promise<ModelValues> {
  const values = new Map<string, Float32Array>();
  for (const { name, kind } of expectedTensors(checkpoint.config)) {
    if (kind === 'linear') values.set(name, await dequantize(checkpoint, name));
    else if (kind === 'plain') values.set(name, await checkpoint.readFloats(name));
    else {
      const [rows = 0, columns = 0] = checkpoint.tensors.get(name)?.shape ?? [];
      const table = new Float32Array(rows * columns);
      await checkpoint.readRows(name, 0, rows, table);
      values.set(name, table);
    }
  }
  return values;
}

/**
 * The parameters of Gemma 3 in Flax, with flat names, from Hugging Face's: the reverse of what a
 * conversion does, written with an index for every dimension.
 * @param vocabRows rows of the table that Flax has
 */
export function flaxTree(
  config: ModelConfig,
  values: ModelValues,
  vocabRows: number = config.text.vocabSize,
): Record<string, ArrayToWrite> {
  const { text, vision } = config;
  const { hiddenSize: D, headCount: H, kvHeadCount: K, headDim: d, intermediateSize: F } = text;
  const arrays: Record<string, ArrayToWrite> = {};
  const of = (name: string): Float32Array => {
    const found = values.get(name);
    if (found === undefined) throw new RangeError(`no ${name}`);
    return found;
  };
  const put = (
    name: string,
    shape: readonly number[],
    at: (...index: number[]) => number,
  ): void => {
    const total = shape.reduce((product, size) => product * size, 1);
    const out = new Float32Array(total);
    const index = shape.map(() => 0);
    for (let i = 0; i < total; i++) {
      out[i] = at(...index);
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        index[axis] = (index[axis] ?? 0) + 1;
        if ((index[axis] ?? 0) < (shape[axis] ?? 1)) break;
        index[axis] = 0;
      }
    }
    arrays[name] = { shape, values: out };
  };
  const copy = (name: string, shape: readonly number[], from: string): void => {
    const total = shape.reduce((product, size) => product * size, 1);
    arrays[name] = { shape, values: of(from).slice(0, total) };
  };

  copy('transformer/embedder.input_embedding', [vocabRows, D], 'embed_tokens');
  copy('transformer/final_norm.scale', [D], 'norm');
  for (let n = 0; n < text.layerCount; n++) {
    const [to, from] = [`transformer/layer_${n}`, `layers.${n}`];
    copy(`${to}/pre_attention_norm.scale`, [D], `${from}.input_layernorm`);
    copy(`${to}/post_attention_norm.scale`, [D], `${from}.post_attention_layernorm`);
    copy(`${to}/pre_ffw_norm.scale`, [D], `${from}.pre_feedforward_layernorm`);
    copy(`${to}/post_ffw_norm.scale`, [D], `${from}.post_feedforward_layernorm`);
    copy(`${to}/attn/_query_norm.scale`, [d], `${from}.self_attn.q_norm`);
    copy(`${to}/attn/_key_norm.scale`, [d], `${from}.self_attn.k_norm`);
    const [q, k, v, o] = ['q', 'k', 'v', 'o'].map((p) => of(`${from}.self_attn.${p}_proj`)) as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    put(`${to}/attn/q_einsum.w`, [H, D, d], (h = 0, i = 0, j = 0) => element(q, h * d + j, i, D));
    put(`${to}/attn/kv_einsum.w`, [2, K, D, d], (s = 0, h = 0, i = 0, j = 0) =>
      element(s === 0 ? k : v, h * d + j, i, D),
    );
    put(`${to}/attn/attn_vec_einsum.w`, [H, d, D], (h = 0, j = 0, i = 0) =>
      element(o, i, h * d + j, H * d),
    );
    const [gate, up, down] = ['gate', 'up', 'down'].map((p) => of(`${from}.mlp.${p}_proj`)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    put(`${to}/mlp/gating_einsum.w`, [2, F, D], (s = 0, f = 0, i = 0) =>
      element(s === 0 ? gate : up, f, i, D),
    );
    put(`${to}/mlp/linear.w`, [F, D], (f = 0, i = 0) => element(down, i, f, F));
  }
  if (vision === null) return arrays;

  const { hiddenSize: W, headCount: A, intermediateSize: I, patchSize: P, imageSize } = vision;
  const a = W / A;
  const root = 'SigLiPFromPatches_0/siglip_encoder';
  copy('transformer/embedder/mm_input_projection.w', [W, D], 'projector.weight');
  copy('transformer/embedder/mm_soft_embedding_norm.scale', [W], 'projector.norm');
  const patch = of('vision.patch_embedding.weight');
  put(
    `${root}/embedding.kernel`,
    [P, P, 3, W],
    (y = 0, x = 0, c = 0, w = 0) => patch[((w * 3 + c) * P + y) * P + x] ?? Number.NaN,
  );
  copy(`${root}/embedding.bias`, [W], 'vision.patch_embedding.bias');
  copy(`${root}.pos_embedding`, [1, (imageSize / P) ** 2, W], 'vision.position_embedding');
  copy(`${root}/Transformer/encoder_norm.scale`, [W], 'vision.post_layernorm.weight');
  copy(`${root}/Transformer/encoder_norm.bias`, [W], 'vision.post_layernorm.bias');
  for (let m = 0; m < vision.layerCount; m++) {
    const [to, from] = [`${root}/Transformer/encoderblock_${m}`, `vision.layers.${m}`];
    for (const i of [0, 1]) {
      copy(`${to}/LayerNorm_${i}.scale`, [W], `${from}.layer_norm${i + 1}.weight`);
      copy(`${to}/LayerNorm_${i}.bias`, [W], `${from}.layer_norm${i + 1}.bias`);
    }
    const attention = `${to}/MultiHeadDotProductAttention_0`;
    for (const [flax, hf] of [
      ['query', 'q'],
      ['key', 'k'],
      ['value', 'v'],
    ] as const) {
      const matrix = of(`${from}.self_attn.${hf}_proj.weight`);
      put(`${attention}/${flax}.kernel`, [W, A, a], (i = 0, h = 0, j = 0) =>
        element(matrix, h * a + j, i, W),
      );
      copy(`${attention}/${flax}.bias`, [A, a], `${from}.self_attn.${hf}_proj.bias`);
    }
    const out = of(`${from}.self_attn.out_proj.weight`);
    put(`${attention}/out.kernel`, [A, a, W], (h = 0, j = 0, w = 0) =>
      element(out, w, h * a + j, W),
    );
    copy(`${attention}/out.bias`, [W], `${from}.self_attn.out_proj.bias`);
    for (const [i, inputs, outputs] of [
      [0, W, I],
      [1, I, W],
    ] as const) {
      const matrix = of(`${from}.mlp.fc${i + 1}.weight`);
      put(`${to}/MlpBlock_0/Dense_${i}.kernel`, [inputs, outputs], (x = 0, y = 0) =>
        element(matrix, y, x, inputs),
      );
      copy(`${to}/MlpBlock_0/Dense_${i}.bias`, [outputs], `${from}.mlp.fc${i + 1}.bias`);
    }
  }
  return arrays;
}

function element(matrix: Float32Array, row: number, column: number, columns: number): number {
  return matrix[row * columns + column] ?? Number.NaN;
}
