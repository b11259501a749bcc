import { ServeError } from '../errors.ts';
import { runBounded } from '../lib/run-bounded.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { parallelReads } from '../weights/ranged-read.ts';
import { damaged } from './byte-cursor.ts';
import { openDatabase, openDirectories, TREE_FILE, type OrbaxIndex } from './orbax-index.ts';
import { OCDBT_MANIFEST } from './ocdbt-manifest.ts';
import type { StoredValue } from './ocdbt-node.ts';
import { chunkBytes, type OrbaxArray, type OrbaxCheckpoint } from './orbax-array.ts';
import { describeArray } from './zarr/describe-array.ts';
import type { Unzstd } from './zstd.ts';

/** Whether the source looks like an Orbax checkpoint, by the files each has. */
export async function isOrbax(source: ObjectSource, signal?: AbortSignal): Promise<boolean> {
  if ((await source.head(OCDBT_MANIFEST, signal)) !== null) return true;
  return (await source.head(TREE_FILE, signal)) !== null;
}

/**
 * Reads the index of an Orbax checkpoint, either of its layouts: one OCDBT database, or a directory
 * for each array. Reads no values; checks that all bytes it refers to are there.
 * @throws ServeError invalid_checkpoint, unsupported_model, weights_unavailable
 */
export async function openOrbax(
  source: ObjectSource,
  unzstd: Unzstd,
  signal?: AbortSignal,
): Promise<OrbaxCheckpoint> {
  const index =
    (await openDatabase({ source, unzstd }, signal)) ?? (await openDirectories(source, signal));
  if (index === null) throw notOrbax(source);
  const described: (OrbaxArray | ServeError)[] = [];
  await runBounded(
    index.names.length,
    parallelReads(source),
    async (at, readSignal) => {
      described[at] = await describe(source, index.names[at] ?? '', index, readSignal);
    },
    signal,
  );
  const found = described.filter((array): array is OrbaxArray => !ServeError.is(array));
  const unreadable = new Map<string, ServeError>();
  for (const [i, array] of described.entries()) {
    if (ServeError.is(array)) unreadable.set(index.names[i] ?? '', array);
  }
  const [first] = unreadable.values();
  if (found.length === 0) throw first ?? damaged(source.name, 'its index lists no arrays');
  const files = await checkFiles(source, found, signal);
  const content = JSON.stringify([
    found.map(({ chunks, ...rest }) => [rest, places(chunks)]),
    files,
  ]);
  return {
    name: source.name,
    layout: index.layout,
    arrays: new Map(found.map((array) => [array.name, array])),
    unreadable,
    fingerprint: await sha256Hex(new TextEncoder().encode(content)),
  };
}

/** @returns the error of an array that is whole but cannot be read: perhaps nobody needs it */
async function describe(
  source: ObjectSource,
  name: string,
  index: OrbaxIndex,
  signal?: AbortSignal,
): Promise<OrbaxArray | ServeError> {
  try {
    return await describeArray(source, name, index, signal);
  } catch (error) {
    if (ServeError.is(error) && error.code === 'unsupported_model') return error;
    throw error;
  }
}

/** Files that end before what the index says lies in them were cut short: better known now. */
async function checkFiles(
  source: ObjectSource,
  arrays: readonly OrbaxArray[],
  signal?: AbortSignal,
): Promise<readonly unknown[]> {
  const ends = new Map<string, { end: number; name: string }>();
  for (const { name, chunks } of arrays) {
    for (const chunk of chunks) {
      if (chunk.type !== 'span') continue;
      const end = chunk.offset + chunk.sizeBytes;
      if (end > (ends.get(chunk.key)?.end ?? -1)) ends.set(chunk.key, { end, name });
    }
  }
  const files = [...ends].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const infos: unknown[] = [];
  await runBounded(
    files.length,
    parallelReads(source),
    async (index, headSignal) => {
      const [key, { end, name }] = files[index] ?? ['', { end: 0, name: '' }];
      const info = await source.head(key, headSignal);
      if (info === null) {
        throw new ServeError(
          'weights_unavailable',
          `${source.name} has no ${key}, which holds ${name}: download all files of the checkpoint`,
        );
      }
      if (info.sizeBytes < end) {
        throw damaged(
          `${source.name}: ${key}`,
          `it has ${info.sizeBytes} bytes, but ${name} lies in it up to ${end}: the download was cut short`,
        );
      }
      infos[index] = [key, info.sizeBytes, info.etag];
    },
    signal,
  );
  return infos;
}

function places(chunks: readonly StoredValue[]): readonly unknown[] {
  return chunks.map((chunk) =>
    chunk.type === 'inline' ? [...chunk.bytes] : [chunk.key, chunk.offset, chunkBytes(chunk)],
  );
}

function notOrbax(source: ObjectSource): ServeError {
  return new ServeError(
    'weights_unavailable',
    `${source.name} is no Orbax checkpoint: it has neither ${OCDBT_MANIFEST} nor ${TREE_FILE}; give the folder that holds them (in Kaggle's archive the one beside tokenizer.model)`,
  );
}
