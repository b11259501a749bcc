import type { JsonFields } from '../../model/json-fields.ts';
import type { FloatDtype } from '../../weights/dtype.ts';

/** How an array is cut and stored, by either version of zarr. */
export interface ZarrMetadata {
  readonly shape: readonly number[];
  /** Shape of a chunk; those at the edges are stored whole. */
  readonly chunks: readonly number[];
  readonly dtype: FloatDtype;
  readonly codec: 'zstd' | 'none';
  /** What names of chunks begin with, without a separator; empty for none. */
  readonly keyPrefix: string;
  /** Between the numbers of a chunk's name. */
  readonly separator: '.' | '/';
  /** Present where values are stored in shards of several chunks each. */
  readonly shards: ZarrShards | null;
}

export interface ZarrShards {
  /** Shape of a shard, in values: whole chunks. */
  readonly shape: readonly number[];
  readonly indexLocation: 'start' | 'end';
  /** Whether a CRC-32C follows the index. */
  readonly isChecked: boolean;
}

const MAX_DIMENSIONS = 8;
const MAX_DIMENSION = 2 ** 31;
const MAX_VALUES = 2 ** 40;
const MAX_CHUNKS = 2 ** 20;

/** A list of sizes. @throws ServeError invalid_checkpoint */
export function readSizes(fields: JsonFields, key: string, min: 0 | 1): readonly number[] {
  const found = fields.value(key);
  if (Array.isArray(found) && found.length === 0) return [];
  const sizes = fields.integers(key, { min, max: MAX_DIMENSION });
  if (sizes === null || sizes.length > MAX_DIMENSIONS) {
    throw fields.error(key, `must list up to ${MAX_DIMENSIONS} sizes`);
  }
  return sizes;
}

/**
 * Refuses what would take memory out of proportion.
 * @param key of `chunks` in `fields`
 * @throws ServeError invalid_checkpoint
 */
export function checkSizes(
  fields: JsonFields,
  key: string,
  shape: readonly number[],
  chunks: readonly number[],
): void {
  if (chunks.length !== shape.length) throw fields.error(key, 'must have as many as shape');
  const [values, chunkValues] = [product(shape), product(chunks)];
  const chunkCount = product(chunkGrid({ shape, chunks }));
  if (values > MAX_VALUES || chunkValues > MAX_VALUES) {
    throw fields.error(fields.has('shape') ? 'shape' : key, 'is too large');
  }
  if (chunkCount > MAX_CHUNKS) throw fields.error(key, `cut it into ${chunkCount}`);
}

/** @throws ServeError unsupported_model for all but the dtypes given */
export function readDtype(
  fields: JsonFields,
  key: string,
  dtypes: Readonly<Record<string, FloatDtype>>,
): FloatDtype {
  const dtype = fields.text(key) ?? '';
  const known = Object.hasOwn(dtypes, dtype) ? dtypes[dtype] : undefined;
  if (known !== undefined) return known;
  const names = Object.keys(dtypes);
  throw fields.error(
    key,
    `must be ${names.slice(0, -1).join(', ')} or ${names.at(-1)}`,
    'unsupported_model',
  );
}

export function product(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total * size, 1);
}

/** Chunks along each dimension. */
export function chunkGrid({
  shape,
  chunks,
}: Pick<ZarrMetadata, 'shape' | 'chunks'>): readonly number[] {
  return shape.map((size, i) => Math.ceil(size / (chunks[i] ?? 1)));
}

/** Names of all that is stored, chunks or shards, in C order of their grid; a number alone has one. */
export function chunkNames(metadata: ZarrMetadata): readonly string[] {
  const { shape, shards, keyPrefix, separator } = metadata;
  if (shape.length === 0) return [keyPrefix === '' ? '0' : keyPrefix];
  let names = [keyPrefix];
  for (const count of chunkGrid({ shape, chunks: shards?.shape ?? metadata.chunks })) {
    names = names.flatMap((name) =>
      Array.from({ length: count }, (_, i) => (name === '' ? `${i}` : `${name}${separator}${i}`)),
    );
  }
  return names;
}
