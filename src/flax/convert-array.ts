import { GRID_GROUP } from '../bundle/grid.ts';
import type { ServeError } from '../errors.ts';
import { openArray, type ArrayPlace, type ArrayStream } from './array-stream.ts';
import { damaged } from './byte-cursor.ts';
import { hasBfloat16, showOdd } from './int4/odd-values.ts';
import { createTableCheck, type TableCheck } from './int4/table-check.ts';
import { createAwqPacker, type AwqPacker } from './int4/awq-packer.ts';
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
  const where = `${place.source.name}: ${flax.array.name}`;
  try {
    switch (flax.transform.type) {
      case 'plain':
        yield* plainTensor(flax, values, where, null);
        break;
      case 'table': {
        const { dtype, shape } = flax.array;
        yield* plainTensor(flax, values, where, createTableCheck(shape[1] ?? 0, dtype, where));
        const { paddingValues } = flax.transform;
        if (paddingValues > 0) yield new Uint8Array(2 * paddingValues);
        break;
      }
      case 'permuted':
        yield await permutedTensor(flax, values, where, flax.transform);
        break;
      default:
        yield* int4Tensors(flax, values, where);
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
  where: string,
  check: TableCheck | null,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const total = flax.array.shape.reduce((product, size) => product * size, 1);
  const floats = new Float32Array(Math.min(PIECE_VALUES, total));
  for (let done = 0; done < total;) {
    const part = floats.subarray(0, Math.min(PIECE_VALUES, total - done));
    await values.take(part);
    const halves = toBfloat16(part, (i) => notFinite(flax.array.shape, done + i, part[i], where));
    check?.(part);
    yield bytesOf(halves);
    done += part.length;
  }
}

async function permutedTensor(
  flax: FlaxArray,
  values: ArrayStream,
  where: string,
  { shape, order }: { readonly shape: readonly number[]; readonly order: readonly number[] },
): Promise<Uint8Array<ArrayBuffer>> {
  const total = shape.reduce((product, size) => product * size, 1);
  const floats = new Float32Array(total);
  await values.take(floats);
  const halves = toBfloat16(floats, (i) => notFinite(flax.array.shape, i, floats[i], where));
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
    const packer = createAwqPacker(outputs, inputs, `${where} (${name})`);
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

/**
 * To the nearest, ties to even.
 * @param refused the error for the value at an index that has no finite bfloat16
 */
function toBfloat16(values: Float32Array, refused: (index: number) => ServeError): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number;
    if (!hasBfloat16(values[i] as number)) throw refused(i);
    halves[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** @param index in C order */
function notFinite(
  shape: readonly number[],
  index: number,
  value: number | undefined,
  where: string,
): ServeError {
  const place: number[] = [];
  let rest = index;
  for (const size of shape.toReversed()) {
    place.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return damaged(where, `its value [${place.join(', ')}] is ${showOdd(value ?? Number.NaN)}`);
}

function bytesOf(array: Uint16Array | Uint32Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength);
}
