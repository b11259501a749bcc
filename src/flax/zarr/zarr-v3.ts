import { jsonFields, type JsonFields } from '../../model/json-fields.ts';
import {
  checkSizes,
  readDtype,
  readSizes,
  type ZarrMetadata,
  type ZarrShards,
} from './zarr-metadata.ts';

/**
 * Reads a zarr.json: a regular grid of chunks, little-endian, as they are or packed with zstd, also in
 * shards, as Orbax writes them with `use_zarr3`.
 * @param where for messages
 * @throws ServeError invalid_checkpoint, unsupported_model (what is valid but cannot be read)
 */
export function parseZarrV3(json: unknown, where: string): ZarrMetadata {
  const fields = jsonFields(json, where);
  if (fields.integer('zarr_format', { min: 0, max: 99 }) !== 3) {
    throw fields.error('zarr_format', 'must be 3', 'unsupported_model');
  }
  if (fields.text('node_type') !== 'array') throw fields.error('node_type', 'must be array');
  const shape = readSizes(fields, 'shape', 0);
  const grid = named(fields, 'chunk_grid', ['regular']);
  const stored = readSizes(grid.configuration, 'chunk_shape', 1);
  checkSizes(grid.configuration, 'chunk_shape', shape, stored);
  const dtype = readDtype(fields, 'data_type', {
    float32: 'F32',
    bfloat16: 'BF16',
    float16: 'F16',
  });
  if (listOf(fields, 'storage_transformers').length > 0) {
    throw fields.error('storage_transformers', 'must be empty', 'unsupported_model');
  }
  const keys = named(fields, 'chunk_key_encoding', ['default', 'v2']);
  const isDefault = keys.name === 'default';
  const separator = keys.configuration.text('separator') ?? (isDefault ? '/' : '.');
  if (separator !== '.' && separator !== '/') {
    throw keys.configuration.error('separator', 'must be . or /');
  }
  const common = { shape, dtype, keyPrefix: isDefault ? 'c' : '', separator } as const;
  const [outer] = codecsOf(fields, 'codecs');
  if (outer?.name !== 'sharding_indexed') {
    return { ...common, chunks: stored, codec: bytesCodec(fields), shards: null };
  }
  const inner = outer.configuration;
  const chunks = readSizes(inner, 'chunk_shape', 1);
  checkSizes(inner, 'chunk_shape', stored, chunks);
  checkSizes(inner, 'chunk_shape', shape, chunks);
  if (stored.some((size, i) => size % (chunks[i] ?? 1) !== 0)) {
    throw inner.error('chunk_shape', `must divide the shards' [${stored.join(', ')}]`);
  }
  return { ...common, chunks, codec: bytesCodec(inner), shards: shardsOf(inner, stored) };
}

function shardsOf(fields: JsonFields, shape: readonly number[]): ZarrShards {
  const names = codecsOf(fields, 'index_codecs').map(({ name }) => name);
  const isChecked = names.join() === 'bytes,crc32c';
  if (!isChecked && names.join() !== 'bytes') {
    throw fields.error('index_codecs', 'must be bytes, or bytes and crc32c', 'unsupported_model');
  }
  const indexLocation = fields.text('index_location') ?? 'end';
  if (indexLocation !== 'start' && indexLocation !== 'end') {
    throw fields.error('index_location', 'must be start or end');
  }
  return { shape, indexLocation, isChecked };
}

function bytesCodec(fields: JsonFields): ZarrMetadata['codec'] {
  const codecs = codecsOf(fields, 'codecs');
  const names = codecs.map(({ name }) => name).join();
  if (names !== 'bytes' && names !== 'bytes,zstd') {
    throw fields.error(
      'codecs',
      'must be bytes, or bytes and zstd, bare or in sharding_indexed',
      'unsupported_model',
    );
  }
  return names === 'bytes' ? 'none' : 'zstd';
}

interface Named {
  readonly name: string;
  readonly configuration: JsonFields;
}

/** Steps that pack a chunk, in order; bytes must be little-endian in each list of them. */
function codecsOf(fields: JsonFields, key: string): readonly Named[] {
  const codecs = listOf(fields, key).map((codec, i) =>
    nameOf(codec, `${fields.where}: ${key} ${i}`),
  );
  const bytes = codecs.find(({ name }) => name === 'bytes');
  if (bytes !== undefined && (bytes.configuration.text('endian') ?? 'little') !== 'little') {
    throw bytes.configuration.error('endian', 'must be little', 'unsupported_model');
  }
  return codecs;
}

function listOf(fields: JsonFields, key: string): readonly unknown[] {
  const list = fields.value(key) ?? [];
  if (!Array.isArray(list)) throw fields.error(key, 'must be a list');
  return list;
}

function named(fields: JsonFields, key: string, known: readonly string[]): Named {
  const found = nameOf(fields.value(key), `${fields.where}: ${key}`);
  if (known.includes(found.name)) return found;
  throw fields.error(key, `must be ${known.join(' or ')}`, 'unsupported_model');
}

/** An extension point: a name, with a configuration where there is something to say. */
function nameOf(json: unknown, where: string): Named {
  const fields = jsonFields(typeof json === 'string' ? { name: json } : json, where);
  const configuration = fields.object('configuration') ?? jsonFields({}, where);
  return { name: fields.text('name') ?? '', configuration };
}
