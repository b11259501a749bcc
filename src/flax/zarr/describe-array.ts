import type { ObjectSource } from '../../weights/object-source.ts';
import { damaged } from '../byte-cursor.ts';
import type { StoredValue } from '../ocdbt-node.ts';
import type { OrbaxArray } from '../orbax-array.ts';
import type { OrbaxIndex } from '../orbax-index.ts';
import { chunksInShards } from './shard-index.ts';
import { chunkNames, type ZarrMetadata } from './zarr-metadata.ts';
import { parseZarrV2 } from './zarr-v2.ts';
import { parseZarrV3 } from './zarr-v3.ts';

/** What an array's name is followed by in the key of its metadata, and what reads that. */
const VERSIONS = [
  { suffix: '/.zarray', parse: parseZarrV2 },
  { suffix: '/zarr.json', parse: parseZarrV3 },
];

/** It has some hundred bytes. */
const MAX_METADATA_BYTES = 2 ** 20;

/** The array whose metadata has this key; null for other keys. */
export function arrayNameOf(key: string): string | null {
  const version = VERSIONS.find(({ suffix }) => key.endsWith(suffix));
  return version === undefined ? null : key.slice(0, -version.suffix.length);
}

/**
 * Reads how an array is stored and where its chunks lie, by zarr v2 or v3.
 * @throws ServeError invalid_checkpoint, weights_unavailable, unsupported_model (it is whole, but of a
 *   kind that cannot be read)
 */
export async function describeArray(
  source: ObjectSource,
  name: string,
  index: OrbaxIndex,
  signal?: AbortSignal,
): Promise<OrbaxArray> {
  const where = `${source.name}: ${name}`;
  const metadata = await readMetadata(source, name, index, signal);
  const { shape, chunks: chunkShape, dtype, codec, shards } = metadata;
  const stored: StoredValue[] = [];
  for (const chunk of chunkNames(metadata)) {
    const value = await index.find(`${name}/${chunk}`, signal);
    // Orbax writes every chunk, also of zeros: one that lacks was lost.
    if (value === null) throw damaged(where, `its chunk ${chunk} is missing`);
    stored.push(value);
  }
  const chunks =
    shards === null
      ? stored
      : await chunksInShards(source, { ...metadata, shards }, stored, where, signal);
  return { name, shape, chunkShape, dtype, codec, chunks };
}

async function readMetadata(
  source: ObjectSource,
  name: string,
  index: OrbaxIndex,
  signal?: AbortSignal,
): Promise<ZarrMetadata> {
  for (const { suffix, parse } of VERSIONS) {
    const stored = await index.find(name + suffix, signal);
    if (stored === null) continue;
    const where = `${source.name}: ${name}${suffix}`;
    return parse(parseText(await readSmall(source, stored, where, signal), where), where);
  }
  const names = VERSIONS.map(({ suffix }) => name + suffix).join(' nor ');
  throw damaged(source.name, `it has neither ${names}`);
}

async function readSmall(
  source: ObjectSource,
  value: StoredValue,
  where: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  if (value.type === 'inline') return value.bytes;
  if (value.sizeBytes > MAX_METADATA_BYTES) {
    throw damaged(where, `it has ${value.sizeBytes} bytes`);
  }
  const bytes = new Uint8Array(value.sizeBytes);
  await source.read(value.key, value.offset, bytes, signal);
  return bytes;
}

function parseText(bytes: Uint8Array, where: string): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw damaged(where, 'it is not JSON', error);
  }
}
