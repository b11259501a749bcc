import type { Checkpoint, LinearInfo } from '../../../src/weights/checkpoint.ts';
import {
  asFloats,
  MICROSOFT,
  type GraphBuilder,
  type Value,
  type Weight,
} from './graph-builder.ts';

/** How matrices are multiplied: `fast` rounds activations to int8 per block, `exact` does not. */
export type Precision = 'exact' | 'fast';

/** ONNX Runtime's accuracy_level: 4 computes in int8, 0 in fp32. */
export function accuracyLevel(precision: Precision): number {
  return precision === 'fast' ? 4 : 0;
}

/** A stored float tensor as a weight of shape `dims`. */
export function floatWeight(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  name: string,
  dims: readonly number[],
): Value {
  return graph.floats(name, dims, async (target, signal) => {
    target.set(await checkpoint.readFloats(name, signal));
  });
}

/** Gemma's norm weight w acts as (1 + w); the 1 is folded in here. */
export function normWeight(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  name: string,
  size: number,
): Value {
  return graph.floats(name, [size], async (target, signal) => {
    const stored = await checkpoint.readFloats(name, signal);
    for (let i = 0; i < target.length; i++) target[i] = 1 + (stored[i] as number);
  });
}

/** x * rsqrt(mean(x^2) + epsilon) * (1 + w) over the last axis. */
export function rmsNorm(graph: GraphBuilder, x: Value, weight: Value, epsilon: number): Value {
  return graph.apply('SimplifiedLayerNormalization', [x, weight], {
    axis: -1,
    epsilon: { float: epsilon },
    stash_type: 1,
  });
}

/** A stored [out, in] float matrix as the [in, out] operand that MatMul wants. */
export function transposedWeight(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  name: string,
  outFeatures: number,
  inFeatures: number,
): Value {
  return graph.floats(
    name,
    [inFeatures, outFeatures],
    async (target, signal) => {
      transpose(await checkpoint.readFloats(name, signal), target, outFeatures, inFeatures);
    },
    true,
  );
}

const TILE = 64;

/** [rows, columns] to [columns, rows], in tiles that stay in the cache. */
export function transpose(
  from: Float32Array,
  to: Float32Array,
  rows: number,
  columns: number,
): void {
  for (let r0 = 0; r0 < rows; r0 += TILE) {
    const r1 = Math.min(rows, r0 + TILE);
    for (let c0 = 0; c0 < columns; c0 += TILE) {
      const c1 = Math.min(columns, c0 + TILE);
      for (let r = r0; r < r1; r++) {
        for (let c = c0; c < c1; c++) to[c * rows + r] = from[r * columns + c] as number;
      }
    }
  }
}

export type LinearInfos = ReadonlyMap<string, LinearInfo>;

/**
 * y = x Wᵀ for one or several linears that share their input. Several of one kind run as a single
 * product over the stacked outputs and are split afterwards.
 */
export function linears(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  infos: LinearInfos,
  names: readonly string[],
  x: Value,
  precision: Precision,
): Value[] {
  const parts = names.map((name) => {
    const info = infos.get(name);
    if (info === undefined) throw new RangeError(`no linear ${name}`);
    return { name, info };
  });
  const [first] = parts;
  if (first === undefined) return [];
  const canStack =
    parts.length > 1 &&
    parts.every(
      ({ info }) =>
        info.type === 'int4' &&
        first.info.type === 'int4' &&
        info.groupSize === first.info.groupSize,
    );
  if (!canStack) return parts.map((part) => product(graph, checkpoint, [part], x, precision));
  const stacked = product(graph, checkpoint, parts, x, precision);
  const outputs = parts.map(({ name }) => `${name}.out`);
  const sizes = graph.int64s(parts.map(({ info }) => info.outFeatures));
  graph.node('Split', [stacked, sizes], outputs, { axis: -1 });
  return outputs;
}

interface LinearPart {
  readonly name: string;
  readonly info: LinearInfo;
}

function product(
  graph: GraphBuilder,
  checkpoint: Checkpoint,
  parts: readonly LinearPart[],
  x: Value,
  precision: Precision,
): Value {
  const [first] = parts as readonly [LinearPart];
  if (first.info.type === 'float') {
    const { outFeatures, inFeatures } = first.info;
    const weight = transposedWeight(graph, checkpoint, first.name, outFeatures, inFeatures);
    return graph.apply('MatMul', [x, weight]);
  }
  const { inFeatures, groupSize } = first.info;
  const groups = inFeatures / groupSize;
  const outFeatures = parts.reduce((sum, { info }) => sum + info.outFeatures, 0);
  const isSymmetric = parts.every(({ info }) => info.type === 'int4' && info.symmetric);
  const zeroBytes = Math.ceil(groups / 2);
  const name = parts.map((part) => part.name).join('+');
  const weights: Weight[] = [
    {
      name: `${name}.packed`,
      type: 'uint8',
      dims: [outFeatures, groups, groupSize / 2],
      isPrepacked: true,
    },
    { name: `${name}.scales`, type: 'float', dims: [outFeatures * groups], isPrepacked: true },
  ];
  if (!isSymmetric) {
    const dims = [outFeatures * zeroBytes];
    weights.push({ name: `${name}.zeros`, type: 'uint8', dims, isPrepacked: false });
  }
  const operands = graph.weights(weights, async ([packed, scales, zeroPoints], signal) => {
    if (packed === undefined || scales === undefined) throw new RangeError('operands missing');
    const factors = asFloats(scales);
    const rowBytes = inFeatures / 2;
    let row = 0;
    for (const part of parts) {
      const end = row + part.info.outFeatures;
      const target = {
        packed: packed.subarray(row * rowBytes, end * rowBytes),
        scales: factors.subarray(row * groups, end * groups),
        zeroPoints: zeroPoints?.subarray(row * zeroBytes, end * zeroBytes) ?? null,
      };
      await checkpoint.readInt4(part.name, target, signal);
      row = end;
    }
  });
  return graph.apply(
    'MatMulNBits',
    [x, ...operands],
    {
      K: inFeatures,
      N: outFeatures,
      bits: 4,
      block_size: groupSize,
      accuracy_level: accuracyLevel(precision),
    },
    MICROSOFT,
  );
}
