import { bytesOf, createFileSink } from './file-sink.ts';

export interface FileTensor {
  readonly name: string;
  readonly dtype: 'BF16' | 'I32';
  readonly shape: readonly number[];
  readonly sizeBytes: number;
}

export function fileTensor(
  name: string,
  dtype: 'BF16' | 'I32',
  shape: readonly number[],
): FileTensor {
  const count = shape.reduce((product, size) => product * size, 1);
  return { name, dtype, shape, sizeBytes: count * (dtype === 'I32' ? 4 : 2) };
}

/** @param writeData writes the bytes of all `tensors`, in their order */
export function writeSafetensors(
  path: string,
  tensors: readonly FileTensor[],
  writeData: (write: (bytes: Uint8Array) => void) => void,
): void {
  const header: Record<string, object> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const { name, dtype, shape, sizeBytes } of tensors) {
    const start = end;
    end += sizeBytes;
    header[name] = { dtype, shape, data_offsets: [start, end] };
  }
  let json = JSON.stringify(header);
  // Data starts at a multiple of 8; the format pads with spaces.
  json = json.padEnd(Math.ceil(json.length / 8) * 8);
  const sink = createFileSink(path);
  try {
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(json.length), true);
    sink.write(bytesOf(length));
    sink.write(new TextEncoder().encode(json));
    writeData(sink.write);
  } finally {
    sink.close();
  }
}
