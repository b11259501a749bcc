import { damaged } from './byte-cursor.ts';
import type { OrbaxArray } from './orbax-array.ts';

/** What the shapes of the arrays say about the model. */
export interface FlaxShape {
  /** Rows of the embedding table, without padding. */
  readonly vocabRows: number;
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly kvHeadCount: number;
  readonly headDim: number;
  readonly intermediateSize: number;
  readonly vision: FlaxVisionShape | null;
}

export interface FlaxVisionShape {
  readonly hiddenSize: number;
  readonly layerCount: number;
  readonly headCount: number;
  readonly intermediateSize: number;
  readonly patchSize: number;
  readonly imageSize: number;
}

/**
 * @param arrays by parameter name
 * @param where the checkpoint, for messages
 * @throws ServeError invalid_checkpoint
 */
export function readFlaxShape(arrays: ReadonlyMap<string, OrbaxArray>, where: string): FlaxShape {
  const sizes = (name: string, count: number): readonly number[] => {
    const array = arrays.get(name);
    if (array === undefined) throw damaged(where, `it has no ${name}`);
    if (array.shape.length === count && array.shape.every((size) => size > 0)) return array.shape;
    throw damaged(
      where,
      `${array.name} is [${array.shape.join(', ')}], not of ${count} dimensions`,
    );
  };
  const [vocabRows = 0, hiddenSize = 0] = sizes('embedder.input_embedding', 2);
  const [headCount = 0, , headDim = 0] = sizes('layer_0.attn.q_einsum.w', 3);
  const [, kvHeadCount = 0] = sizes('layer_0.attn.kv_einsum.w', 4);
  const [intermediateSize = 0] = sizes('layer_0.mlp.linear.w', 2);
  const hasVision = [...arrays.keys()].some(
    (name) => name.startsWith('vision.') || name.startsWith('embedder.mm_'),
  );
  return {
    vocabRows,
    hiddenSize,
    layerCount: countLayers(arrays, /^layer_(\d+)\./),
    headCount,
    kvHeadCount,
    headDim,
    intermediateSize,
    vision: hasVision ? readVision() : null,
  };

  function readVision(): FlaxVisionShape {
    const block = 'vision.Transformer.encoderblock_0';
    const [, patches = 0, width = 0] = sizes('vision.pos_embedding', 3);
    const [patchSize = 0] = sizes('vision.embedding.kernel', 4);
    const [, heads = 0] = sizes(`${block}.MultiHeadDotProductAttention_0.query.kernel`, 3);
    const [, inner = 0] = sizes(`${block}.MlpBlock_0.Dense_0.kernel`, 2);
    const side = Math.sqrt(patches);
    if (!Number.isInteger(side)) throw damaged(where, `${patches} patches are no square picture`);
    return {
      hiddenSize: width,
      layerCount: countLayers(arrays, /^vision\.Transformer\.encoderblock_(\d+)\./),
      headCount: heads,
      intermediateSize: inner,
      patchSize,
      imageSize: side * patchSize,
    };
  }
}

/** Up to the highest number that is there: a gap shows as missing arrays. */
function countLayers(arrays: ReadonlyMap<string, OrbaxArray>, layer: RegExp): number {
  let count = 0;
  for (const name of arrays.keys()) {
    const number = layer.exec(name)?.[1];
    if (number !== undefined) count = Math.max(count, Number(number) + 1);
  }
  // A name may claim any number; there are at least as many arrays as layers.
  return Math.min(count, arrays.size + 1);
}
