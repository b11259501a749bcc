import { GRID_GROUP } from '../bundle/grid.ts';
import type { FlaxArray } from './flax-tensors.ts';

/** One file of the checkpoint that is made. */
export interface PlannedShard {
  readonly file: string;
  /** Length and header of a safetensors file; all tensors follow, in order and without gaps. */
  readonly head: Uint8Array;
  readonly arrays: readonly PlannedArray[];
  readonly tensors: readonly PlannedTensor[];
  readonly tensorBytes: number;
  /** Of the whole file. */
  readonly sizeBytes: number;
}

export interface PlannedArray {
  readonly flax: FlaxArray;
  /** Where its tensors lie in the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface PlannedTensor {
  readonly name: string;
  readonly dtype: 'BF16' | 'I32';
  readonly shape: readonly number[];
  readonly sizeBytes: number;
}

/** What an array becomes, in the order in which `convertArray` gives it. */
function tensorsOf({ transform, names, shape }: FlaxArray): readonly PlannedTensor[] {
  if (transform.type !== 'inputs-first' && transform.type !== 'outputs-first') {
    return names.map((name) => tensor(name, 'BF16', shape));
  }
  const [outputs = 0, inputs = 0] = shape;
  const groups = inputs / GRID_GROUP;
  return names.flatMap((name) => [
    tensor(`${name}.qweight`, 'I32', [inputs, outputs / 8]),
    tensor(`${name}.qzeros`, 'I32', [groups, outputs / 8]),
    tensor(`${name}.scales`, 'BF16', [groups, outputs]),
  ]);
}

function tensor(name: string, dtype: 'BF16' | 'I32', shape: readonly number[]): PlannedTensor {
  const values = shape.reduce((product, size) => product * size, 1);
  return { name, dtype, shape, sizeBytes: values * (dtype === 'I32' ? 4 : 2) };
}

/** Fills shards in the order of `arrays`. */
export function planShards(
  arrays: readonly FlaxArray[],
  shardBytes: number,
): readonly PlannedShard[] {
  const groups: FlaxArray[][] = [];
  let room = 0;
  for (const array of arrays) {
    const size = sizeOf(tensorsOf(array));
    const current = groups.at(-1);
    if (current === undefined || size > room) {
      groups.push([array]);
      room = shardBytes - size;
    } else {
      current.push(array);
      room -= size;
    }
  }
  return groups.map((group, i) => planShard(group, fileName(i, groups.length)));
}

function fileName(index: number, count: number): string {
  if (count === 1) return 'model.safetensors';
  return `model-${fiveDigits(index + 1)}-of-${fiveDigits(count)}.safetensors`;
}

function fiveDigits(value: number): string {
  return String(value).padStart(5, '0');
}

function planShard(group: readonly FlaxArray[], file: string): PlannedShard {
  const tensors = group.flatMap(tensorsOf);
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, dtype, shape, sizeBytes } of tensors) {
    header[name] = { dtype, shape, data_offsets: [end, end + sizeBytes] };
    end += sizeBytes;
  }
  const text = JSON.stringify(header);
  // Data begins at a multiple of 8; the format pads with spaces.
  const json = new TextEncoder().encode(text.padEnd(Math.ceil(text.length / 8) * 8));
  const head = new Uint8Array(8 + json.length);
  new DataView(head.buffer).setBigUint64(0, BigInt(json.length), true);
  head.set(json, 8);
  let offset = head.length;
  const arrays = group.map((flax) => {
    const sizeBytes = sizeOf(tensorsOf(flax));
    offset += sizeBytes;
    return { flax, offset: offset - sizeBytes, sizeBytes };
  });
  return { file, head, arrays, tensors, tensorBytes: end, sizeBytes: offset };
}

function sizeOf(tensors: readonly PlannedTensor[]): number {
  return tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
