import { ServeError } from '../errors.ts';
import type { Int4Target, LinearInfo } from '../weights/checkpoint.ts';
import { FLOAT_SIZE, widen } from '../weights/dtype.ts';
import type { BundleTensor } from './manifest.ts';
import type { PartStream } from './part-stream.ts';

type FloatTensor = Extract<BundleTensor, { type: 'float' }>;
type Int4Tensor = Extract<BundleTensor, { type: 'int4' }>;

export interface TensorReader {
  linear(name: string): LinearInfo;
  readFloats(name: string, signal?: AbortSignal): Promise<Float32Array>;
  readRows(
    name: string,
    from: number,
    to: number,
    out: Float32Array,
    signal?: AbortSignal,
  ): Promise<void>;
  readInt4(name: string, target: Int4Target, signal?: AbortSignal): Promise<void>;
}

/** Bytes of a tensor in its stream. */
export function tensorBytes(tensor: BundleTensor): number {
  switch (tensor.type) {
    case 'float':
      return valueCount(tensor) * FLOAT_SIZE[tensor.dtype];
    case 'int4': {
      const { packed, scales, zeros } = int4Bytes(tensor);
      return packed + scales + zeros;
    }
    case 'head': {
      const values = tensor.rows * tensor.columns;
      const bits = tensor.format === 'int8' ? 8 : 4;
      return (values * bits) / 8 + (values / tensor.blockSize) * 4;
    }
    default:
      return tensor satisfies never;
  }
}

function valueCount({ shape }: FloatTensor): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

function int4Bytes(tensor: Int4Tensor): { packed: number; scales: number; zeros: number } {
  const { outFeatures, inFeatures, groupSize, symmetric } = tensor;
  const groups = inFeatures / groupSize;
  return {
    packed: (outFeatures * inFeatures) / 2,
    scales: outFeatures * groups * FLOAT_SIZE[tensor.scales],
    zeros: symmetric ? 0 : outFeatures * Math.ceil(groups / 2),
  };
}

/** Reads tensors out of the streams they lie in. */
export function createTensorReader(
  streams: readonly { readonly stream: PartStream; readonly tensors: readonly BundleTensor[] }[],
  where: string,
): TensorReader {
  const known = new Map<string, { readonly stream: PartStream; readonly tensor: BundleTensor }>();
  for (const { stream, tensors } of streams) {
    for (const tensor of tensors) known.set(tensor.name, { stream, tensor });
  }

  function find(name: string): { readonly stream: PartStream; readonly tensor: BundleTensor } {
    const found = known.get(name);
    if (found !== undefined) return found;
    throw new ServeError(
      'invalid_checkpoint',
      `${where} lacks ${name}, which its config.json demands. Pack the model again.`,
    );
  }

  function floatOf(name: string): { readonly stream: PartStream; readonly tensor: FloatTensor } {
    const { stream, tensor } = find(name);
    if (tensor.type !== 'float') throw new RangeError(`${name} is not stored as floats`);
    return { stream, tensor };
  }

  return {
    linear(name) {
      const { tensor } = find(name);
      if (tensor.type === 'int4') {
        const { outFeatures, inFeatures, groupSize, symmetric } = tensor;
        return { type: 'int4', outFeatures, inFeatures, groupSize, symmetric };
      }
      const [outFeatures = 0, inFeatures = 0] = floatOf(name).tensor.shape;
      return { type: 'float', outFeatures, inFeatures };
    },
    async readFloats(name, signal) {
      const found = floatOf(name);
      const out = new Float32Array(valueCount(found.tensor));
      await readValues(found, 0, out, signal);
      return out;
    },
    async readRows(name, from, to, out, signal) {
      const found = floatOf(name);
      const columns = found.tensor.shape[1] ?? 0;
      if (out.length !== (to - from) * columns) {
        throw new RangeError(`rows ${from}..${to} of ${name} need ${(to - from) * columns} values`);
      }
      await readValues(found, from * columns, out, signal);
    },
    async readInt4(name, target, signal) {
      const { stream, tensor } = find(name);
      if (tensor.type !== 'int4') throw new RangeError(`${name} is not stored as int4`);
      const { packed, scales, zeros } = int4Bytes(tensor);
      const size = FLOAT_SIZE[tensor.scales];
      const { offset } = tensor;
      await stream.read(offset, packed, (bytes, at) => target.packed.set(bytes, at), signal);
      await stream.read(
        offset + packed,
        scales,
        (bytes, at) => widen(tensor.scales, bytes, target.scales, at / size),
        signal,
      );
      const zeroPoints = target.zeroPoints;
      if (zeroPoints === null && zeros > 0) {
        throw new RangeError(`${name} has zero points other than 8: they must be read too`);
      }
      if (zeroPoints === null) return;
      if (zeros === 0) zeroPoints.fill(0x88);
      await stream.read(
        offset + packed + scales,
        zeros,
        (bytes, at) => zeroPoints.set(bytes, at),
        signal,
      );
    },
  };
}

async function readValues(
  { stream, tensor }: { readonly stream: PartStream; readonly tensor: FloatTensor },
  first: number,
  out: Float32Array,
  signal?: AbortSignal,
): Promise<void> {
  const size = FLOAT_SIZE[tensor.dtype];
  await stream.read(
    tensor.offset + first * size,
    out.length * size,
    // Parts end at multiples of any value's size.
    (bytes, at) => widen(tensor.dtype, bytes, out, at / size),
    signal,
  );
}
