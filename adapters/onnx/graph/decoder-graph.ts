import type { LayerType, TextConfig } from '../../../src/model/config.ts';
import type { Checkpoint } from '../../../src/weights/checkpoint.ts';
import { GraphBuilder, MICROSOFT, type Attribute, type Value } from './graph-builder.ts';
import { linears, normWeight, rmsNorm, type LinearInfos, type Precision } from './layers.ts';

export interface DecoderGraphOptions {
  readonly config: TextConfig;
  readonly checkpoint: Checkpoint;
  readonly infos: LinearInfos;
  /** Layers [from, to) of the model. */
  readonly from: number;
  readonly to: number;
  readonly precision: Precision;
  /** Build the branch in which a chunk's tokens see each other both ways. */
  readonly withImages: boolean;
}

/**
 * A run of decoder layers: hidden states in, hidden states out, KV rows updated in place.
 *
 * Inputs: `x` [B, S, hidden]; `positions` int64 [B, S], absolute; per layer type `lengths.<type>`
 * int32 [B] (cached tokens + S - 1) and `total.<type>` int32 [1] (their maximum + 1), counted in
 * the cache of that type; `cos.<type>`, `sin.<type>` [positions, headDim / 2]; per layer
 * `past.<i>.key` and `.value` [B, kvHeads, capacity, headDim]. With images also `isImage` bool [1]
 * and `bias.local` [1, 1, S, total]. Outputs: `y` and `present.<i>.key|value`, to be bound to the
 * same memory as the past.
 */
export function decoderGraph(options: DecoderGraphOptions): GraphBuilder {
  const { config, from, to, withImages } = options;
  const graph = new GraphBuilder(`layers${from}-${to - 1}`);
  graph.input('x', 'float', ['B', 'S', config.hiddenSize]);
  graph.input('positions', 'int64', ['B', 'S']);
  const types = new Set(config.layerTypes.slice(from, to));
  for (const type of types) {
    graph.input(`lengths.${type}`, 'int32', ['B']);
    graph.input(`total.${type}`, 'int32', [1]);
    graph.input(`cos.${type}`, 'float', ['positions', config.headDim / 2]);
    graph.input(`sin.${type}`, 'float', ['positions', config.headDim / 2]);
  }
  if (withImages) {
    graph.input('isImage', 'bool', [1]);
    if (types.has('local')) graph.input('bias.local', 'float', [1, 1, 'biasRows', 'biasColumns']);
  }
  let x = 'x';
  for (let layer = from; layer < to; layer++) {
    const output = layer === to - 1 ? 'y' : `layers.${layer}.output`;
    decoderLayer(graph, options, layer, x, output);
    x = output;
  }
  graph.output('y', 'float', ['B', 'S', config.hiddenSize]);
  return graph;
}

function decoderLayer(
  graph: GraphBuilder,
  options: DecoderGraphOptions,
  layer: number,
  x: Value,
  output: Value,
): void {
  const { config, checkpoint, infos, precision } = options;
  const { hiddenSize, rmsNormEps: epsilon } = config;
  const prefix = `layers.${layer}`;
  const norm = (name: string): Value =>
    normWeight(graph, checkpoint, `${prefix}.${name}`, hiddenSize);
  const multiply = (names: readonly string[], input: Value): Value[] =>
    linears(
      graph,
      checkpoint,
      infos,
      names.map((n) => `${prefix}.${n}`),
      input,
      precision,
    );

  const attended = attention(
    graph,
    options,
    layer,
    multiply,
    rmsNorm(graph, x, norm('input_layernorm'), epsilon),
  );
  const branch = rmsNorm(graph, attended, norm('post_attention_layernorm'), epsilon);
  // Adds the residual and norms the sum in one pass; output 3 is the sum itself.
  const afterAttention = `${prefix}.residual`;
  const mlpInput = `${prefix}.mlpInput`;
  graph.node(
    'SkipSimplifiedLayerNormalization',
    [branch, x, norm('pre_feedforward_layernorm')],
    [mlpInput, '', '', afterAttention],
    { epsilon: { float: epsilon } },
    MICROSOFT,
  );
  const [gate, up] = multiply(['mlp.gate_proj', 'mlp.up_proj'], mlpInput) as [Value, Value];
  const activated = graph.apply('Gelu', [gate], { approximate: 'tanh' });
  const [down] = multiply(['mlp.down_proj'], graph.apply('Mul', [activated, up])) as [Value];
  const mlp = rmsNorm(graph, down, norm('post_feedforward_layernorm'), epsilon);
  graph.node('Add', [mlp, afterAttention], [output]);
}

function attention(
  graph: GraphBuilder,
  options: DecoderGraphOptions,
  layer: number,
  multiply: (names: readonly string[], input: Value) => Value[],
  input: Value,
): Value {
  const { config, checkpoint } = options;
  const prefix = `layers.${layer}.self_attn`;
  const [q, k, v] = multiply(
    ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
    input,
  ) as [Value, Value, Value];
  const headNorm = (value: Value, name: string, heads: number): Value => {
    const weight = normWeight(graph, checkpoint, `${prefix}.${name}`, config.headDim);
    const split = graph.apply('Reshape', [value, graph.int64s([0, 0, heads, config.headDim])]);
    const normed = rmsNorm(graph, split, weight, config.rmsNormEps);
    return graph.apply('Reshape', [normed, graph.int64s([0, 0, heads * config.headDim])]);
  };
  const type = config.layerTypes[layer] as LayerType;
  const cacheDims = ['B', config.kvHeadCount, `capacity.${type}`, config.headDim] as const;
  const past = ['key', 'value'].map((kind) =>
    graph.input(`past.${layer}.${kind}`, 'float', cacheDims),
  );
  const present = ['key', 'value'].map((kind) => `present.${layer}.${kind}`);
  for (const name of present) graph.output(name, 'float', cacheDims);

  const inputs = [
    headNorm(q, 'q_norm', config.headCount),
    headNorm(k, 'k_norm', config.kvHeadCount),
    v,
    ...past,
    `lengths.${type}`,
    `total.${type}`,
    `cos.${type}`,
    `sin.${type}`,
    'positions',
  ];
  const attributes: Record<string, Attribute> = {
    num_heads: config.headCount,
    kv_num_heads: config.kvHeadCount,
    scale: { float: config.attentionScale },
    do_rotary: 1,
    rotary_interleaved: 0,
    ...(config.attentionSoftcap === null ? {} : { softcap: { float: config.attentionSoftcap } }),
  };
  const causal = {
    ...attributes,
    ...(type === 'local' ? { local_window_size: config.windowTokens } : {}),
  };
  const output = `${prefix}.attended`;
  if (options.withImages) {
    // A chunk that is one image run: no causal order inside it. The window, which that mode cannot
    // express, comes as a bias on local layers.
    const bias = type === 'local' ? ['bias.local'] : [];
    const branch = (
      name: string,
      more: readonly Value[],
      options_: Record<string, Attribute>,
    ): GraphBuilder => {
      const body = new GraphBuilder(`${prefix}.${name}`);
      const outputs = ['out', 'key', 'value'].map((kind) => `${prefix}.${name}.${kind}`);
      body.node('GroupQueryAttention', [...inputs, ...more], outputs, options_, MICROSOFT);
      body.output(outputs[0] as Value, 'float', ['B', 'S', config.headCount * config.headDim]);
      for (const cache of outputs.slice(1)) body.output(cache, 'float', cacheDims);
      return body;
    };
    graph.node('If', ['isImage'], [output, ...present], {
      then_branch: branch('image', bias, { ...attributes, causal: 0 }),
      else_branch: branch('text', [], causal),
    });
  } else {
    graph.node('GroupQueryAttention', inputs, [output, ...present], causal, MICROSOFT);
  }
  const [o] = multiply(['self_attn.o_proj'], output) as [Value];
  return o;
}
