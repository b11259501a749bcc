import type { OpenedCheckpoint } from '../weights/open-checkpoint.ts';
import type { FloatDtype } from '../weights/dtype.ts';
import { isFloatDtype } from '../weights/dtype.ts';
import { headBlockSize, quantizeInt4, quantizeInt8 } from '../weights/quantize.ts';
import { encodeFloats } from './float-code.ts';
import type { BundleTensor } from './manifest.ts';
import type { PartWriter } from './part-writer.ts';

/** Rows of the head rounded at a time. */
const ROWS_AT_A_TIME = 1024;

/** Writes one tensor as a bundle holds it. */
export async function packTensor(
  checkpoint: OpenedCheckpoint,
  name: string,
  writer: PartWriter,
  signal?: AbortSignal,
): Promise<BundleTensor> {
  await writer.align();
  const { offset } = writer;
  if (!checkpoint.tensors.has(`${name}.qweight`)) {
    const info = checkpoint.tensors.get(name);
    if (info === undefined) throw new RangeError(`${checkpoint.name} has no tensor ${name}`);
    const values = await checkpoint.readFloats(name, signal);
    const { dtype, bytes } = encodeFloats(values, floatDtypeOf(info.dtype));
    await writer.append(bytes);
    return { type: 'float', name, offset, dtype, shape: [...info.shape] };
  }
  const linear = await checkpoint.linear(name, signal);
  if (linear.type !== 'int4') throw new RangeError(`${name} is not int4`);
  const { outFeatures, inFeatures, symmetric } = linear;
  const groups = inFeatures / linear.groupSize;
  const target = {
    packed: new Uint8Array((outFeatures * inFeatures) / 2),
    scales: new Float32Array(outFeatures * groups),
    zeroPoints: symmetric ? null : new Uint8Array(outFeatures * Math.ceil(groups / 2)),
  };
  await checkpoint.readInt4(name, target, signal);
  const stored = checkpoint.tensors.get(`${name}.scales`)?.dtype ?? 'F32';
  const scales = encodeFloats(target.scales, floatDtypeOf(stored));
  await writer.append(target.packed);
  await writer.append(scales.bytes);
  if (target.zeroPoints !== null) await writer.append(target.zeroPoints);
  const groupSize = linear.groupSize as 32 | 64 | 128;
  return {
    type: 'int4',
    name,
    offset,
    outFeatures,
    inFeatures,
    groupSize,
    scales: scales.dtype,
    symmetric,
  };
}

function floatDtypeOf(dtype: string): FloatDtype {
  return isFloatDtype(dtype) ? dtype : 'F32';
}

/** Writes the output head rounded to `format`; null where its width has no such blocks. */
export async function packHead(
  checkpoint: OpenedCheckpoint,
  format: 'int8' | 'int4',
  writer: PartWriter,
  signal?: AbortSignal,
): Promise<BundleTensor | null> {
  const { vocabSize: rows, hiddenSize: columns } = checkpoint.config.text;
  const blockSize = headBlockSize(format, columns);
  if (blockSize === null) return null;
  await writer.align();
  const { offset } = writer;
  const source = checkpoint.tensors.has('lm_head') ? 'lm_head' : 'embed_tokens';
  const quantize = format === 'int8' ? quantizeInt8 : quantizeInt4;
  const rowBytes = (columns * (format === 'int8' ? 8 : 4)) / 8;
  const blocks = columns / blockSize;
  // Scales follow all values, so they wait: 4 bytes for each block.
  const scales = new Float32Array(rows * blocks);
  for (let from = 0; from < rows; from += ROWS_AT_A_TIME) {
    const count = Math.min(rows - from, ROWS_AT_A_TIME);
    const floats = new Float32Array(count * columns);
    await checkpoint.readRows(source, from, from + count, floats, signal);
    const packed = new Uint8Array(count * rowBytes);
    for (let row = 0; row < count; row++) {
      quantize(
        floats.subarray(row * columns, (row + 1) * columns),
        packed.subarray(row * rowBytes, (row + 1) * rowBytes),
        scales.subarray((from + row) * blocks, (from + row + 1) * blocks),
        blockSize,
      );
    }
    await writer.append(packed);
  }
  await writer.append(new Uint8Array(scales.buffer));
  return { type: 'head', name: 'head', offset, format, rows, columns, blockSize };
}
