import type { ModelConfig } from '../model/config.ts';
import { isSymmetric, transposeNibbles, unpackScales, unpackZeroPoints } from './awq.ts';
import type { CheckedTensors, Int4Shape, UsedTensor } from './check-tensors.ts';
import type { Checkpoint, Int4Target } from './checkpoint.ts';
import { FLOAT_SIZE, isFloatDtype, widen } from './dtype.ts';
import type { FloatDtype } from './dtype.ts';
import { createGather } from './gather-embeddings.ts';
import type { ObjectSource } from './object-source.ts';
import { readPieces, readSpan } from './ranged-read.ts';

/** Inputs that one step of the unpacking turns around together. */
const BLOCK_INPUTS = 8;

/** The reading half of a checkpoint whose tensors are already checked. */
export function createCheckpointReader(
  source: ObjectSource,
  config: ModelConfig,
  { used, int4 }: CheckedTensors,
): Checkpoint {
  const symmetry = new Map<string, boolean>();

  const tensorOf = (name: string): UsedTensor => {
    const tensor = used.get(name);
    if (tensor === undefined) throw new RangeError(`${source.name} has no tensor ${name}`);
    return tensor;
  };
  const floatOf = (name: string): UsedTensor & { readonly dtype: FloatDtype } => {
    const tensor = tensorOf(name);
    if (isFloatDtype(tensor.dtype)) return { ...tensor, dtype: tensor.dtype };
    throw new RangeError(`${name} holds ${tensor.dtype}, not floats`);
  };
  const readWhole = async (tensor: UsedTensor, signal?: AbortSignal): Promise<Uint8Array> => {
    const bytes = new Uint8Array(tensor.sizeBytes);
    await readSpan(source, tensor, bytes, signal);
    return bytes;
  };
  const readZeros = async (name: string, signal?: AbortSignal): Promise<Uint32Array> =>
    new Uint32Array((await readWhole(tensorOf(`${name}.qzeros`), signal)).buffer);
  const readSymmetry = async (name: string, signal?: AbortSignal): Promise<boolean> => {
    const symmetric = symmetry.get(name) ?? isSymmetric(await readZeros(name, signal));
    symmetry.set(name, symmetric);
    return symmetric;
  };
  const readWidened = async (
    tensor: UsedTensor & { readonly dtype: FloatDtype },
    offset: number,
    out: Float32Array,
    signal?: AbortSignal,
  ): Promise<void> => {
    const size = FLOAT_SIZE[tensor.dtype];
    const span = { key: tensor.key, offset: tensor.offset + offset, sizeBytes: out.length * size };
    await readPieces(
      source,
      span,
      size,
      (piece, at) => widen(tensor.dtype, piece, out, at / size),
      signal,
    );
  };

  return {
    name: source.name,
    config,
    sizeBytes: [...used.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    tensors: new Map(
      [...used].map(([name, { dtype, shape, sizeBytes }]) => [name, { dtype, shape, sizeBytes }]),
    ),
    async readFloats(name, signal) {
      const tensor = floatOf(name);
      const out = new Float32Array(tensor.sizeBytes / FLOAT_SIZE[tensor.dtype]);
      await readWidened(tensor, 0, out, signal);
      return out;
    },
    async readRows(name, from, to, out, signal) {
      const tensor = floatOf(name);
      const [rows = 0, columns = 0] = tensor.shape;
      if (tensor.shape.length !== 2 || from < 0 || from > to || to > rows) {
        throw new RangeError(`${name} [${tensor.shape.join(', ')}] has no rows ${from}..${to}`);
      }
      if (out.length !== (to - from) * columns) {
        throw new RangeError(`rows ${from}..${to} of ${name} need ${(to - from) * columns} values`);
      }
      await readWidened(tensor, from * columns * FLOAT_SIZE[tensor.dtype], out, signal);
    },
    async linear(name, signal) {
      const shape = int4.get(name);
      if (shape !== undefined) {
        return { type: 'int4', ...shape, symmetric: await readSymmetry(name, signal) };
      }
      const [outFeatures = 0, inFeatures = 0] = floatOf(name).shape;
      return { type: 'float', outFeatures, inFeatures };
    },
    async readInt4(name, target, signal) {
      const shape = int4.get(name);
      if (shape === undefined) throw new RangeError(`${name} is not stored as int4`);
      checkTarget(name, shape, target);
      if (target.zeroPoints !== null) {
        unpackZeroPoints(await readZeros(name, signal), shape.outFeatures, target.zeroPoints);
      } else if (!(await readSymmetry(name, signal))) {
        throw new RangeError(`${name} has zero points other than 8: they must be read too`);
      }
      const scales = floatOf(`${name}.scales`);
      unpackScales(scales.dtype, await readWhole(scales, signal), shape.outFeatures, target.scales);

      const qweight = tensorOf(`${name}.qweight`);
      const rowBytes = qweight.sizeBytes / shape.inFeatures;
      const out = wordsOf(target.packed);
      await readPieces(
        source,
        qweight,
        BLOCK_INPUTS * rowBytes,
        (piece, at) =>
          transposeNibbles(
            wordsOf(piece),
            shape.outFeatures / 8,
            out,
            shape.inFeatures / BLOCK_INPUTS,
            at / rowBytes / BLOCK_INPUTS,
          ),
        signal,
      );
    },
    ...createGather(source, tensorOf('embed_tokens')),
    close: () => source.close(),
  };
}

function checkTarget(name: string, shape: Int4Shape, target: Int4Target): void {
  const { outFeatures, inFeatures, groupSize } = shape;
  const groups = inFeatures / groupSize;
  const fits =
    target.packed.length === (outFeatures * inFeatures) / 2 &&
    target.packed.byteOffset % 4 === 0 &&
    target.scales.length === outFeatures * groups &&
    (target.zeroPoints === null ||
      target.zeroPoints.length === outFeatures * Math.ceil(groups / 2));
  if (fits) return;
  throw new RangeError(
    `${name} needs an aligned target of [${outFeatures}, ${groups}, ${groupSize / 2}] bytes, [${outFeatures}, ${groups}] scales and, if any, [${outFeatures}, ${Math.ceil(groups / 2)}] zero points`,
  );
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
