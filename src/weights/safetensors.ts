import { ServeError } from '../errors.ts';
import type { ObjectSource } from './object-source.ts';

/** One tensor as a file describes it, bounds already checked. */
export interface StoredTensor {
  /** As spelled in the file. */
  readonly storedName: string;
  /** The file it is in. */
  readonly key: string;
  /** Any of the format's dtypes, such as `BF16` or `I64`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Where its bytes begin, counted from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The reference implementation's own limit, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

const LENGTH_BYTES = 8;

/** Bits of one value. Others are newer than this list and refused only if they are needed. */
const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
};

/**
 * Reads and checks the header of one .safetensors file; reads nothing else.
 * @throws ServeError invalid_checkpoint: truncated or damaged file, overlapping tensors;
 * weights_unavailable: no such file
 */
export async function readSafetensorsHeader(
  source: ObjectSource,
  key: string,
  signal?: AbortSignal,
): Promise<readonly StoredTensor[]> {
  const where = `${source.name}: ${key}`;
  const info = await source.head(key, signal);
  if (info === null) {
    throw new ServeError(
      'weights_unavailable',
      `${where} is missing: download all of the model's .safetensors files`,
    );
  }
  if (info.sizeBytes < LENGTH_BYTES + 2) throw truncated(where, info.sizeBytes, LENGTH_BYTES + 2);
  const length = new Uint8Array(LENGTH_BYTES);
  await source.read(key, 0, length, signal);
  const headerBytes = new DataView(length.buffer).getBigUint64(0, true);
  if (headerBytes > BigInt(MAX_HEADER_BYTES)) {
    throw damaged(
      where,
      `its header claims ${headerBytes} bytes, more than the format's ${MAX_HEADER_BYTES}`,
    );
  }
  const headerEnd = LENGTH_BYTES + Number(headerBytes);
  if (headerEnd > info.sizeBytes) throw truncated(where, info.sizeBytes, headerEnd);
  const header = new Uint8Array(Number(headerBytes));
  await source.read(key, LENGTH_BYTES, header, signal);
  return parseHeader(header, { key, where, dataStart: headerEnd, fileBytes: info.sizeBytes });
}

interface HeaderPlace {
  readonly key: string;
  readonly where: string;
  readonly dataStart: number;
  readonly fileBytes: number;
}

function parseHeader(header: Uint8Array, place: HeaderPlace): readonly StoredTensor[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(header));
  } catch (error) {
    throw damaged(place.where, 'its header is not JSON', error);
  }
  if (!isRecord(parsed)) throw damaged(place.where, 'its header is not a JSON object');
  const tensors = Object.entries(parsed)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, entry]) => parseEntry(name, entry, place))
    .toSorted((a, b) => a.offset - b.offset);
  checkOverlap(tensors, place);
  return tensors;
}

function parseEntry(name: string, entry: unknown, place: HeaderPlace): StoredTensor {
  if (!isRecord(entry)) throw damaged(place.where, `the entry of ${name} is not an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string') throw damaged(place.where, `${name} has no dtype`);
  if (!isCounts(shape)) throw damaged(place.where, `${name} has no valid shape`);
  if (!isCounts(offsets) || offsets.length !== 2) {
    throw damaged(place.where, `${name} has no valid data_offsets`);
  }
  const [begin = 0, end = 0] = offsets;
  if (begin > end) throw damaged(place.where, `${name} ends before it begins`);
  if (place.dataStart + end > place.fileBytes) {
    throw truncated(place.where, place.fileBytes, place.dataStart + end);
  }
  const bits = Object.hasOwn(DTYPE_BITS, dtype) ? DTYPE_BITS[dtype] : undefined;
  const expected =
    bits === undefined
      ? end - begin
      : (shape.reduce((product, dimension) => product * dimension, 1) * bits) / 8;
  if (expected !== end - begin) {
    throw damaged(
      place.where,
      `${name} holds ${end - begin} bytes, but ${dtype} [${shape.join(', ')}] needs ${expected}`,
    );
  }
  return {
    storedName: name,
    key: place.key,
    dtype,
    shape,
    offset: place.dataStart + begin,
    sizeBytes: end - begin,
  };
}

/** @param tensors ascending by offset */
function checkOverlap(tensors: readonly StoredTensor[], place: HeaderPlace): void {
  let previous: StoredTensor | null = null;
  for (const tensor of tensors) {
    if (tensor.sizeBytes === 0) continue;
    if (previous !== null && tensor.offset < previous.offset + previous.sizeBytes) {
      throw damaged(place.where, `${previous.storedName} and ${tensor.storedName} overlap`);
    }
    previous = tensor;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function damaged(where: string, problem: string, cause?: unknown): ServeError {
  return new ServeError(
    'invalid_checkpoint',
    `${where} is not a valid safetensors file: ${problem}; download it again`,
    { cause },
  );
}

function truncated(where: string, found: number, needed: number): ServeError {
  return new ServeError(
    'invalid_checkpoint',
    `${where} has ${found} bytes but needs ${needed}: the download was cut short; download it again`,
  );
}
