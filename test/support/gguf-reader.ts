/** Reads GGUF 3 and dequantizes its tensors, written from the format's description alone: the oracle of the bench's writer. */

export interface GgufFile {
  readonly metadata: ReadonlyMap<string, unknown>;
  readonly tensors: ReadonlyMap<string, GgufTensorValues>;
}

export interface GgufTensorValues {
  /** Fastest first. */
  readonly dimensions: readonly number[];
  readonly values: Float32Array;
}

export function readGguf(bytes: Uint8Array): GgufFile {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const u32 = (): number => view.getUint32((at += 4) - 4, true);
  const u64 = (): number => Number(view.getBigUint64((at += 8) - 8, true));
  const text = (): string => {
    const length = u64();
    at += length;
    return new TextDecoder().decode(bytes.subarray(at - length, at));
  };
  const value = (type: number): unknown => {
    if (type === 4) return u32();
    if (type === 5) return view.getInt32((at += 4) - 4, true);
    if (type === 6) return view.getFloat32((at += 4) - 4, true);
    if (type === 8) return text();
    if (type !== 9) throw new Error(`metadata type ${type} is not read here`);
    const element = u32();
    const length = u64();
    return Array.from({ length }, () => value(element));
  };
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== 'GGUF') throw new Error('no GGUF magic');
  at = 4;
  if (u32() !== 3) throw new Error('not GGUF version 3');
  const tensorCount = u64();
  const metadataCount = u64();
  const metadata = new Map<string, unknown>();
  for (let i = 0; i < metadataCount; i += 1) {
    const key = text();
    metadata.set(key, value(u32()));
  }
  const entries = Array.from({ length: tensorCount }, () => ({
    name: text(),
    dimensions: Array.from({ length: u32() }, u64),
    type: u32(),
    offset: u64(),
  }));
  const data = Math.ceil(at / 32) * 32;
  const tensors = new Map<string, GgufTensorValues>();
  for (const { name, dimensions, type, offset } of entries) {
    if (offset % 32 !== 0) throw new Error(`${name} is not aligned`);
    const count = dimensions.reduce((product, size) => product * size, 1);
    tensors.set(name, { dimensions, values: dequantize(view, data + offset, type, count) });
  }
  return { metadata, tensors };
}

function dequantize(view: DataView, start: number, type: number, count: number): Float32Array {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i += 1) {
    const block = i >> 5;
    const within = i & 31;
    if (type === 0) {
      values[i] = view.getFloat32(start + 4 * i, true);
    } else if (type === 2) {
      const at = start + block * 18;
      const byte = view.getUint8(at + 2 + (within & 15));
      values[i] = half(view.getUint16(at, true)) * ((within < 16 ? byte & 15 : byte >> 4) - 8);
    } else if (type === 8) {
      const at = start + block * 34;
      values[i] = half(view.getUint16(at, true)) * view.getInt8(at + 2 + within);
    } else {
      throw new Error(`tensor type ${type} is not read here`);
    }
  }
  return values;
}

/** fp16, normal numbers and zero. */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  if (exponent === 0 || exponent === 31) {
    if ((bits & 0x7fff) === 0) return 0;
    throw new Error(`fp16 bits ${bits} are not a normal number`);
  }
  return (bits & 0x8000 ? -1 : 1) * (1 + (bits & 1023) / 1024) * 2 ** (exponent - 15);
}
