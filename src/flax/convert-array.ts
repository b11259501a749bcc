import { GRID_GROUP } from '../bundle/grid.ts';
import { openArray, type ArrayPlace, type ArrayStream } from './array-stream.ts';
import { createAwqPacker, type AwqPacker } from './awq-packer.ts';
import type { FlaxArray } from './flax-tensors.ts';

/**
 * Turns one array into its tensors: pieces of their bytes, one tensor after the other in the order of
 * `tensorsOf`. Little-endian, as files have it.
 * @throws ServeError invalid_checkpoint (damaged, or values on no int4 grid), weights_unavailable
 */
export async function* convertArray(
  flax: FlaxArray,
  place: ArrayPlace,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const values = openArray(flax.array, place);
  try {
    switch (flax.transform.type) {
      case 'plain':
        yield* plainTensor(flax, values, flax.transform.paddingValues);
        break;
      case 'permuted':
        yield await permutedTensor(values, flax.transform.shape, flax.transform.order);
        break;
      default:
        yield* int4Tensors(flax, values, place.source.name);
    }
  } finally {
    await values.close();
  }
}

/** Values converted at a time. */
const PIECE_VALUES = 2 ** 21;

async function* plainTensor(
  flax: FlaxArray,
  values: ArrayStream,
  paddingValues: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const total = flax.array.shape.reduce((product, size) => product * size, 1);
  const floats = new Float32Array(Math.min(PIECE_VALUES, total));
  for (let done = 0; done < total;) {
    const part = floats.subarray(0, Math.min(PIECE_VALUES, total - done));
    await values.take(part);
    yield bytesOf(toBfloat16(part));
    done += part.length;
  }
  if (paddingValues > 0) yield new Uint8Array(2 * paddingValues);
}

async function permutedTensor(
  values: ArrayStream,
  shape: readonly number[],
  order: readonly number[],
): Promise<Uint8Array<ArrayBuffer>> {
  const total = shape.reduce((product, size) => product * size, 1);
  const floats = new Float32Array(total);
  await values.take(floats);
  const halves = toBfloat16(floats);
  const strides = shape.map((_, i) =>
    shape.slice(i + 1).reduce((product, size) => product * size, 1),
  );
  const out = new Uint16Array(total);
  let at = 0;
  const visit = (depth: number, from: number): void => {
    const axis = order[depth] ?? 0;
    const [count, stride] = [shape[axis] ?? 1, strides[axis] ?? 1];
    const isLast = depth === order.length - 1;
    for (let i = 0; i < count; i++) {
      if (isLast) out[at++] = halves[from + i * stride] as number;
      else visit(depth + 1, from + i * stride);
    }
  };
  visit(0, 0);
  return bytesOf(out);
}

async function* int4Tensors(
  flax: FlaxArray,
  values: ArrayStream,
  where: string,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { transform, shape, names } = flax;
  const [outputs = 0, inputs = 0] = shape;
  for (const name of names) {
    const packer = createAwqPacker(outputs, inputs, `${where}: ${flax.array.name} (${name})`);
    if (transform.type === 'inputs-first') {
      await packInputsFirst(packer, values, transform.heads, inputs, transform.outputs);
    } else {
      await packOutputsFirst(packer, values, inputs, outputs);
    }
    const { qweight, qzeros, scales } = packer.finish();
    yield bytesOf(qweight);
    yield bytesOf(qzeros);
    yield bytesOf(scales);
  }
}

/** One group of inputs at a time, for all outputs of a head. */
async function packInputsFirst(
  packer: AwqPacker,
  values: ArrayStream,
  heads: number,
  inputs: number,
  outputs: number,
): Promise<void> {
  const slab = new Float32Array(GRID_GROUP * outputs);
  for (let head = 0; head < heads; head++) {
    for (let input = 0; input < inputs; input += GRID_GROUP) {
      await values.take(slab);
      packer.addInputs(slab, input, head * outputs, outputs);
    }
  }
}

/** As many rows at a time as fill a cache line of packed words. */
const ROWS_AT_A_TIME = 128;

async function packOutputsFirst(
  packer: AwqPacker,
  values: ArrayStream,
  inputs: number,
  outputs: number,
): Promise<void> {
  const slab = new Float32Array(Math.min(ROWS_AT_A_TIME, outputs) * inputs);
  for (let row = 0; row < outputs; row += ROWS_AT_A_TIME) {
    const rows = Math.min(ROWS_AT_A_TIME, outputs - row);
    const part = slab.subarray(0, rows * inputs);
    await values.take(part);
    packer.addOutputs(part, row, rows);
  }
}

/** To the nearest, ties to even. */
function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number;
    halves[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}

function bytesOf(array: Uint16Array | Uint32Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength);
}
