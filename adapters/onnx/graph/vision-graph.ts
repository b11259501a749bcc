import type { VisionConfig } from '../../../src/model/config.ts';
import type { Checkpoint } from '../../../src/weights/checkpoint.ts';
import { GraphBuilder, MICROSOFT, type Value } from './graph-builder.ts';
import { floatWeight, normWeight, rmsNorm, transposedWeight } from './layers.ts';

const CHANNELS = 3;

export interface VisionGraphOptions {
  readonly vision: VisionConfig;
  /** Hidden size of the text model. */
  readonly textHiddenSize: number;
  readonly checkpoint: Checkpoint;
}

/**
 * SigLIP vision tower and Gemma's projector in fp32: `pixels` [N, 3, size, size] to `features`
 * [N, tokensPerImage, textHiddenSize].
 */
export function visionGraph(options: VisionGraphOptions): GraphBuilder {
  const { vision, checkpoint, textHiddenSize } = options;
  const { hiddenSize, patchSize, imageSize } = vision;
  const graph = new GraphBuilder('vision');
  const side = imageSize / patchSize;
  graph.input('pixels', 'float', ['N', CHANNELS, imageSize, imageSize]);
  const patches = graph.apply(
    'Conv',
    [
      'pixels',
      floatWeight(graph, checkpoint, 'vision.patch_embedding.weight', [
        hiddenSize,
        CHANNELS,
        patchSize,
        patchSize,
      ]),
      floatWeight(graph, checkpoint, 'vision.patch_embedding.bias', [hiddenSize]),
    ],
    { kernel_shape: [patchSize, patchSize], strides: [patchSize, patchSize] },
  );
  const flat = graph.apply('Reshape', [patches, graph.int64s([0, hiddenSize, side * side])]);
  const sequence = graph.apply('Transpose', [flat], { perm: [0, 2, 1] });
  const places = floatWeight(graph, checkpoint, 'vision.position_embedding', [
    side * side,
    hiddenSize,
  ]);
  let x = graph.apply('Add', [sequence, places]);
  for (let layer = 0; layer < vision.layerCount; layer++)
    x = encoderLayer(graph, options, layer, x);
  x = layerNorm(graph, options, 'vision.post_layernorm', x);
  return project(graph, options, x, side, textHiddenSize);
}

function encoderLayer(
  graph: GraphBuilder,
  options: VisionGraphOptions,
  layer: number,
  x: Value,
): Value {
  const { hiddenSize, intermediateSize, headCount } = options.vision;
  const prefix = `vision.layers.${layer}`;
  const dense = (name: string, input: Value, inFeatures: number, outFeatures: number): Value => {
    const { checkpoint } = options;
    const weight = transposedWeight(
      graph,
      checkpoint,
      `${prefix}.${name}.weight`,
      outFeatures,
      inFeatures,
    );
    const bias = floatWeight(graph, checkpoint, `${prefix}.${name}.bias`, [outFeatures]);
    return graph.apply('Add', [graph.apply('MatMul', [input, weight]), bias]);
  };
  const h = layerNorm(graph, options, `${prefix}.layer_norm1`, x);
  const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) =>
    dense(`self_attn.${name}`, h, hiddenSize, hiddenSize),
  ) as [Value, Value, Value];
  const attended = graph.apply(
    'MultiHeadAttention',
    [q, k, v],
    { num_heads: headCount, scale: { float: (hiddenSize / headCount) ** -0.5 } },
    MICROSOFT,
  );
  const afterAttention = graph.apply('Add', [
    x,
    dense('self_attn.out_proj', attended, hiddenSize, hiddenSize),
  ]);
  const m = layerNorm(graph, options, `${prefix}.layer_norm2`, afterAttention);
  const activated = graph.apply('Gelu', [dense('mlp.fc1', m, hiddenSize, intermediateSize)], {
    approximate: 'tanh',
  });
  return graph.apply('Add', [
    afterAttention,
    dense('mlp.fc2', activated, intermediateSize, hiddenSize),
  ]);
}

function layerNorm(
  graph: GraphBuilder,
  options: VisionGraphOptions,
  name: string,
  x: Value,
): Value {
  const { checkpoint, vision } = options;
  const [scale, bias] = ['weight', 'bias'].map((kind) =>
    floatWeight(graph, checkpoint, `${name}.${kind}`, [vision.hiddenSize]),
  ) as [Value, Value];
  return graph.apply('LayerNormalization', [x, scale, bias], {
    axis: -1,
    epsilon: { float: vision.layerNormEps },
  });
}

/** Average-pools the patch grid down to the soft tokens, norms, and maps into the text model. */
function project(
  graph: GraphBuilder,
  options: VisionGraphOptions,
  x: Value,
  side: number,
  textHiddenSize: number,
): GraphBuilder {
  const { checkpoint, vision } = options;
  const { hiddenSize, tokensPerImage } = vision;
  const stride = side / Math.sqrt(tokensPerImage);
  const channelsFirst = graph.apply('Transpose', [x], { perm: [0, 2, 1] });
  const grid = graph.apply('Reshape', [channelsFirst, graph.int64s([0, hiddenSize, side, side])]);
  const pooled = graph.apply('AveragePool', [grid], {
    kernel_shape: [stride, stride],
    strides: [stride, stride],
  });
  const tokens = graph.apply('Reshape', [pooled, graph.int64s([0, hiddenSize, tokensPerImage])]);
  const rows = graph.apply('Transpose', [tokens], { perm: [0, 2, 1] });
  const weight = normWeight(graph, checkpoint, 'projector.norm', hiddenSize);
  const normed = rmsNorm(graph, rows, weight, vision.layerNormEps);
  const matrix = floatWeight(graph, checkpoint, 'projector.weight', [hiddenSize, textHiddenSize]);
  graph.node('MatMul', [normed, matrix], ['features']);
  graph.output('features', 'float', ['N', tokensPerImage, textHiddenSize]);
  return graph;
}
