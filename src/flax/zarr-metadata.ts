import { jsonFields } from '../model/json-fields.ts';
import type { FloatDtype } from '../weights/dtype.ts';

/** How an array is cut and stored, from its .zarray. */
export interface ZarrMetadata {
  readonly shape: readonly number[];
  /** Shape of a chunk; those at the edges are stored whole. */
  readonly chunks: readonly number[];
  readonly dtype: FloatDtype;
  readonly codec: 'zstd' | 'none';
  /** Between the numbers of a chunk's name. */
  readonly separator: '.' | '/';
}

const DTYPES: Readonly<Record<string, FloatDtype>> = {
  '<f4': 'F32',
  bfloat16: 'BF16',
  '<f2': 'F16',
};

const MAX_DIMENSIONS = 8;
const MAX_DIMENSION = 2 ** 31;
const MAX_VALUES = 2 ** 40;
const MAX_CHUNKS = 2 ** 20;

/**
 * @param where for messages
 * @throws ServeError invalid_checkpoint, unsupported_model (what is valid but cannot be read)
 */
export function parseZarrMetadata(json: unknown, where: string): ZarrMetadata {
  const fields = jsonFields(json, where);
  if (fields.integer('zarr_format', { min: 0, max: 99 }) !== 2) {
    throw fields.error('zarr_format', 'must be 2', 'unsupported_model');
  }
  const shape = dimensions('shape', 0);
  const chunks = dimensions('chunks', 1);
  if (chunks.length !== shape.length) throw fields.error('chunks', 'must have as many as shape');
  const values = shape.reduce((product, size) => product * size, 1);
  const chunkCount = chunkGrid({ shape, chunks }).reduce((product, size) => product * size, 1);
  const chunkValues = chunks.reduce((product, size) => product * size, 1);
  if (values > MAX_VALUES || chunkValues > MAX_VALUES) throw fields.error('shape', 'is too large');
  if (chunkCount > MAX_CHUNKS) throw fields.error('chunks', `cut it into ${chunkCount}`);

  const dtype = fields.text('dtype') ?? '';
  const known = Object.hasOwn(DTYPES, dtype) ? DTYPES[dtype] : undefined;
  if (known === undefined) {
    throw fields.error('dtype', 'must be <f4, bfloat16 or <f2', 'unsupported_model');
  }
  const compressor = fields.object('compressor');
  if (compressor !== null && compressor.text('id') !== 'zstd') {
    throw compressor.error('id', 'must be zstd', 'unsupported_model');
  }
  const filters = fields.value('filters') ?? [];
  if (!Array.isArray(filters) || filters.length > 0) {
    throw fields.error('filters', 'must be null', 'unsupported_model');
  }
  if ((fields.text('order') ?? 'C') !== 'C') {
    throw fields.error('order', 'must be C', 'unsupported_model');
  }
  const separator = fields.text('dimension_separator') ?? '.';
  if (separator !== '.' && separator !== '/') {
    throw fields.error('dimension_separator', 'must be . or /');
  }
  return { shape, chunks, dtype: known, codec: compressor === null ? 'none' : 'zstd', separator };

  function dimensions(key: string, min: number): readonly number[] {
    const found = fields.value(key);
    if (Array.isArray(found) && found.length === 0) return [];
    const sizes = fields.integers(key, { min, max: MAX_DIMENSION });
    if (sizes === null || sizes.length > MAX_DIMENSIONS) {
      throw fields.error(key, `must list up to ${MAX_DIMENSIONS} sizes`);
    }
    return sizes;
  }
}

/** Chunks along each dimension. */
export function chunkGrid({
  shape,
  chunks,
}: Pick<ZarrMetadata, 'shape' | 'chunks'>): readonly number[] {
  return shape.map((size, i) => Math.ceil(size / (chunks[i] ?? 1)));
}

/** Names of all chunks, in C order of the grid; a number alone has one, `0`. */
export function chunkNames(metadata: ZarrMetadata): readonly string[] {
  let names = [''];
  for (const [i, count] of chunkGrid(metadata).entries()) {
    const before = i === 0 ? '' : metadata.separator;
    names = names.flatMap((name) =>
      Array.from({ length: count }, (_, index) => `${name}${before}${index}`),
    );
  }
  return metadata.shape.length === 0 ? ['0'] : names;
}
