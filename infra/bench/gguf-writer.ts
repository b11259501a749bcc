import { bytesOf, createFileSink } from './file-sink.ts';

/** The GGUF container, version 3: typed metadata, tensor table, aligned data. */

export type GgufValue =
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'uint32'; readonly value: number }
  | { readonly type: 'float32'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'float32s'; readonly value: Float32Array }
  | { readonly type: 'int32s'; readonly value: Int32Array };

export interface GgufTensor {
  readonly name: string;
  /** Fastest dimension first: a linear is [inFeatures, outFeatures]. */
  readonly dimensions: readonly number[];
  readonly dtype: 'F32' | 'Q4_0' | 'Q8_0';
  /** Writes exactly the tensor's bytes. */
  write(sink: (bytes: Uint8Array) => void): void;
}

const ALIGNMENT = 32;

/** ggml's type number, and bytes per block of values. */
const DTYPES = {
  F32: { id: 0, blockValues: 1, blockBytes: 4 },
  Q4_0: { id: 2, blockValues: 32, blockBytes: 18 },
  Q8_0: { id: 8, blockValues: 32, blockBytes: 34 },
} as const;

const TYPE_UINT32 = 4;
const TYPE_INT32 = 5;
const TYPE_FLOAT32 = 6;
const TYPE_BOOL = 7;
const TYPE_STRING = 8;
const TYPE_ARRAY = 9;

export function count(value: number): GgufValue {
  return { type: 'uint32', value };
}

export function float(value: number): GgufValue {
  return { type: 'float32', value };
}

export function string(value: string): GgufValue {
  return { type: 'string', value };
}

/** @throws Error when a tensor writes another number of bytes than its shape says */
export function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensor[],
): void {
  const sink = createFileSink(path);
  try {
    sink.write(new TextEncoder().encode('GGUF'));
    sink.write(uint32(3));
    sink.write(uint64(tensors.length));
    sink.write(uint64(metadata.size));
    for (const [key, value] of metadata) {
      sink.write(text(key));
      sink.write(encodeValue(value));
    }
    let offset = 0;
    for (const tensor of tensors) {
      sink.write(text(tensor.name));
      sink.write(uint32(tensor.dimensions.length));
      for (const dimension of tensor.dimensions) sink.write(uint64(dimension));
      sink.write(uint32(DTYPES[tensor.dtype].id));
      sink.write(uint64(offset));
      offset += Math.ceil(tensorBytes(tensor) / ALIGNMENT) * ALIGNMENT;
    }
    sink.pad(ALIGNMENT);
    for (const tensor of tensors) {
      const end = sink.sizeBytes + tensorBytes(tensor);
      tensor.write(sink.write);
      if (sink.sizeBytes !== end) {
        throw new Error(`${tensor.name} ends at byte ${sink.sizeBytes} instead of ${end}`);
      }
      sink.pad(ALIGNMENT);
    }
  } finally {
    sink.close();
  }
}

function tensorBytes(tensor: GgufTensor): number {
  const { blockValues, blockBytes } = DTYPES[tensor.dtype];
  const values = tensor.dimensions.reduce((product, size) => product * size, 1);
  return (values / blockValues) * blockBytes;
}

function encodeValue(value: GgufValue): Uint8Array {
  if (value.type === 'bool') {
    return concat([uint32(TYPE_BOOL), Uint8Array.of(value.value ? 1 : 0)]);
  }
  if (value.type === 'uint32') return concat([uint32(TYPE_UINT32), uint32(value.value)]);
  if (value.type === 'string') return concat([uint32(TYPE_STRING), text(value.value)]);
  if (value.type === 'float32') {
    return concat([uint32(TYPE_FLOAT32), bytesOf(Float32Array.of(value.value))]);
  }
  if (value.type === 'strings') {
    return concat([arrayHead(TYPE_STRING, value.value.length), ...value.value.map(text)]);
  }
  const elementType = value.type === 'int32s' ? TYPE_INT32 : TYPE_FLOAT32;
  return concat([arrayHead(elementType, value.value.length), bytesOf(value.value)]);
}

function arrayHead(elementType: number, length: number): Uint8Array {
  return concat([uint32(TYPE_ARRAY), uint32(elementType), uint64(length)]);
}

function text(value: string): Uint8Array {
  const bytes = new TextEncoder().encode(value);
  return concat([uint64(bytes.length), bytes]);
}

function uint32(value: number): Uint8Array {
  return bytesOf(Uint32Array.of(value));
}

function uint64(value: number): Uint8Array {
  return bytesOf(BigUint64Array.of(BigInt(value)));
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}
