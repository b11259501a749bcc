/** A tensor to write: stored bytes with their dtype and shape. */
export interface TensorToWrite {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** One .safetensors file. `change` may damage the header before it is written. */
export function writeSafetensors(
  tensors: Readonly<Record<string, TensorToWrite>>,
  change: (
    header: Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>,
  ) => void = () => undefined,
): Uint8Array {
  const header: Record<string, { dtype: string; shape: number[]; data_offsets: number[] }> = {};
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape: [...shape], data_offsets: [end, end + bytes.length] };
    end += bytes.length;
  }
  change(header);
  const json = new TextEncoder().encode(
    JSON.stringify({ __metadata__: { format: 'pt' }, ...header }),
  );
  const file = new Uint8Array(8 + json.length + end);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  let at = 8 + json.length;
  for (const { bytes } of Object.values(tensors)) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

/** Values that the dtype holds exactly stay exact; BF16 truncates others, F16 rounds toward zero. */
export function floatTensor(
  dtype: 'BF16' | 'F16' | 'F32',
  shape: readonly number[],
  values: Float32Array,
): TensorToWrite {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  if (dtype === 'F32') return { dtype, shape, bytes: new Uint8Array(values.slice().buffer) };
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const word = bits[i] ?? 0;
    halves[i] = dtype === 'BF16' ? word >>> 16 : float16(word);
  }
  return { dtype, shape, bytes: new Uint8Array(halves.buffer) };
}

/** Of the normal range only. */
function float16(word: number): number {
  if ((word & 0x7fffffff) === 0) return word >>> 16;
  const exponent = ((word >>> 23) & 255) - 127;
  if (exponent < -14 || exponent > 15) throw new RangeError('outside the normal range of float16');
  return ((word >>> 16) & 0x8000) | ((exponent + 15) << 10) | ((word >>> 13) & 0x3ff);
}

const NIBBLE_OF_OUTPUT = [0, 4, 1, 5, 2, 6, 3, 7] as const;

/** Packs [rows, columns] nibbles as AutoAWQ's gemm kernels do: 8 columns a word, interleaved. */
export function packAwq(nibbles: Uint8Array, rows: number, columns: number): TensorToWrite {
  const words = new Uint32Array((rows * columns) / 8);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = (row * columns + column) >>> 3;
      const shift = 4 * (NIBBLE_OF_OUTPUT[column % 8] ?? 0);
      words[at] = (words[at] ?? 0) | ((nibbles[row * columns + column] ?? 0) << shift);
    }
  }
  return { dtype: 'I32', shape: [rows, columns / 8], bytes: new Uint8Array(words.buffer) };
}

/** The three parts of an AWQ linear. */
export interface AwqToWrite {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly groupSize: number;
  /** [in, out], 0..15 */
  readonly nibbles: Uint8Array;
  /** [groups, out], 0..15 */
  readonly zeros: Uint8Array;
  /** [groups, out] */
  readonly scales: Float32Array;
  readonly scaleDtype: 'BF16' | 'F16' | 'F32';
}

export function awqTensors(name: string, linear: AwqToWrite): Record<string, TensorToWrite> {
  const groups = linear.inFeatures / linear.groupSize;
  return {
    [`${name}.qweight`]: packAwq(linear.nibbles, linear.inFeatures, linear.outFeatures),
    [`${name}.qzeros`]: packAwq(linear.zeros, groups, linear.outFeatures),
    [`${name}.scales`]: floatTensor(linear.scaleDtype, [groups, linear.outFeatures], linear.scales),
  };
}
