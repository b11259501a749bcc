import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { MAX_HEADER_BYTES, readSafetensorsHeader } from '../../src/weights/safetensors.ts';
import { memorySource } from '../support/memory-source.ts';
import { floatTensor, writeSafetensors } from '../support/safetensors-writer.ts';

const two = {
  a: floatTensor('F32', [2, 2], Float32Array.of(1, 2, 3, 4)),
  b: floatTensor('BF16', [3], Float32Array.of(1, 2, 3)),
};
const read = (file: Uint8Array) => readSafetensorsHeader(memorySource({ f: file }), 'f');
const withHeader = (header: string): Uint8Array => {
  const json = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + json.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(json.length), true);
  file.set(json, 8);
  return file;
};
const fault = async (file: Uint8Array): Promise<string> => {
  const error: unknown = await read(file).catch((reason: unknown) => reason);
  if (!ServeError.is(error)) throw new Error('was accepted', { cause: error });
  expect(error.code).toBe('invalid_checkpoint');
  expect(error.message).toContain('memory:: f');
  return error.message;
};

describe('readSafetensorsHeader', () => {
  it('lists tensors with their place in the file and leaves the metadata out', async () => {
    const file = writeSafetensors(two);
    const tensors = await read(file);
    const start = file.length - 22;
    expect(tensors).toEqual([
      { storedName: 'a', key: 'f', dtype: 'F32', shape: [2, 2], offset: start, sizeBytes: 16 },
      { storedName: 'b', key: 'f', dtype: 'BF16', shape: [3], offset: start + 16, sizeBytes: 6 },
    ]);
  });

  it('reads the header and nothing else', async () => {
    const file = writeSafetensors(two);
    const source = memorySource({ f: file });
    await readSafetensorsHeader(source, 'f');
    expect(source.reads).toEqual([
      { key: 'f', offset: 0, length: 8 },
      { key: 'f', offset: 8, length: file.length - 8 - 22 },
    ]);
  });

  it('takes empty tensors, scalars and dtypes it has never heard of', async () => {
    const tensors = await read(
      writeSafetensors({
        empty: { dtype: 'F32', shape: [0, 4], bytes: new Uint8Array(0) },
        scalar: { dtype: 'I64', shape: [], bytes: new Uint8Array(8) },
        strange: { dtype: 'F4_X', shape: [3], bytes: new Uint8Array(2) },
      }),
    );
    expect(tensors.map(({ sizeBytes }) => sizeBytes).toSorted((a, b) => a - b)).toEqual([0, 2, 8]);
  });

  it('refuses a missing file', async () => {
    await expect(readSafetensorsHeader(memorySource({}), 'f')).rejects.toMatchObject({
      code: 'weights_unavailable',
    });
  });

  it('refuses a file whose download was cut, wherever', async () => {
    const file = writeSafetensors(two);
    expect(await fault(file.subarray(0, 4))).toContain('cut short');
    expect(await fault(file.subarray(0, 30))).toContain('cut short');
    expect(await fault(file.subarray(0, file.length - 1))).toContain('cut short');
  });

  it('refuses a header longer than the format allows without reading it', async () => {
    const file = new Uint8Array(64);
    new DataView(file.buffer).setBigUint64(0, BigInt(MAX_HEADER_BYTES) + 1n, true);
    expect(await fault(file)).toContain('100000001');
    new DataView(file.buffer).setBigUint64(0, 2n ** 64n - 1n, true);
    expect(await fault(file)).toContain('18446744073709551615');
  });

  it('refuses headers that are not JSON objects', async () => {
    expect(await fault(withHeader('{"a":'))).toContain('not JSON');
    expect(await fault(withHeader('[1,2,3]'))).toContain('not a JSON object');
    const bytes = withHeader('{"a": 1}  ');
    bytes[8] = 0xff;
    expect(await fault(bytes)).toContain('not JSON');
  });

  it.each([
    ['{"a": 1}', 'entry of a'],
    ['{"a": {"shape": [], "data_offsets": [0, 0]}}', 'no dtype'],
    ['{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}', 'no valid shape'],
    ['{"a": {"dtype": "F32", "shape": [0.5], "data_offsets": [0, 0]}}', 'no valid shape'],
    ['{"a": {"dtype": "F32", "shape": [0], "data_offsets": [0]}}', 'no valid data_offsets'],
    ['{"a": {"dtype": "F32", "shape": [0], "data_offsets": [4, 0]}}', 'ends before it begins'],
    ['{"__proto__": {"dtype": "F32", "shape": [1], "data_offsets": [0, 0]}}', 'needs 4'],
    ['{"a": {"dtype": "toString", "shape": [1], "data_offsets": [0, 9]}}', 'cut short'],
  ])('refuses %s', async (header, problem) => {
    expect(await fault(withHeader(header))).toContain(problem);
  });

  it('refuses a tensor whose size does not fit its shape', async () => {
    const file = writeSafetensors(two, (header) => {
      header.a?.shape.splice(0, 1, 3);
    });
    expect(await fault(file)).toContain('a holds 16 bytes, but F32 [3, 2] needs 24');
  });

  it('refuses overlapping tensors', async () => {
    const file = writeSafetensors(two, (header) => {
      if (header.b !== undefined) header.b.data_offsets = [14, 20];
    });
    expect(await fault(file)).toContain('a and b overlap');
  });
});
