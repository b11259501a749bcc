import { jsonFields } from '../../model/json-fields.ts';
import { checkSizes, readDtype, readSizes, type ZarrMetadata } from './zarr-metadata.ts';

/**
 * Reads a .zarray.
 * @param where for messages
 * @throws ServeError invalid_checkpoint, unsupported_model (what is valid but cannot be read)
 */
export function parseZarrV2(json: unknown, where: string): ZarrMetadata {
  const fields = jsonFields(json, where);
  if (fields.integer('zarr_format', { min: 0, max: 99 }) !== 2) {
    throw fields.error('zarr_format', 'must be 2', 'unsupported_model');
  }
  const shape = readSizes(fields, 'shape', 0);
  const chunks = readSizes(fields, 'chunks', 1);
  checkSizes(fields, 'chunks', shape, chunks);
  const dtype = readDtype(fields, 'dtype', { '<f4': 'F32', bfloat16: 'BF16', '<f2': 'F16' });
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
  const codec = compressor === null ? 'none' : 'zstd';
  return { shape, chunks, dtype, codec, keyPrefix: '', separator, shards: null };
}
