import { ServeError } from '../errors.ts';
import type { ByteCursor } from './byte-cursor.ts';
import { damaged } from './byte-cursor.ts';
import { MANIFEST_MAGIC, readEnvelope, type FileSpan, type OcdbtPlace } from './ocdbt-envelope.ts';
import { fileAt, readDataFiles } from './ocdbt-files.ts';

export const OCDBT_MANIFEST = 'manifest.ocdbt';

/** The root of the newest version. */
export interface OcdbtRoot {
  readonly span: FileSpan;
  readonly base: string;
  readonly height: number;
  readonly keyCount: number;
}

const NUMBERED = /^manifest\.[0-9a-f]{16}$/;
const UUID_BYTES = 16;
/** A node of the least branching tree has two children. */
const MAX_HEIGHT = 32;

/**
 * Reads which B-tree holds the newest version. Manifests hold the newest versions themselves and
 * refer to nodes of a version tree for older ones only, which nobody needs here.
 * @returns null where there is no manifest
 * @throws ServeError invalid_checkpoint, weights_unavailable
 */
export async function readOcdbtRoot(
  place: OcdbtPlace,
  signal?: AbortSignal,
): Promise<OcdbtRoot | null> {
  const first = await readManifest(place, OCDBT_MANIFEST, signal);
  if (first === null) return null;
  if (first.root !== 'numbered') return first.root;
  const { source } = place;
  if (source.list === undefined) {
    throw new ServeError(
      'invalid_checkpoint',
      `${source.name}: ${OCDBT_MANIFEST} refers to numbered manifests, which can only be found where files can be listed; download the checkpoint and convert the folder`,
    );
  }
  // The names are numbers in hex of equal length.
  const names = (await source.list(signal)).filter((name) => NUMBERED.test(name)).toSorted();
  const newest = names.at(-1);
  const found = newest === undefined ? null : await readManifest(place, newest, signal);
  if (found === null || found.root === 'numbered') {
    throw damaged(
      `${source.name}: ${OCDBT_MANIFEST}`,
      'it refers to numbered manifests, none is there',
    );
  }
  return found.root;
}

async function readManifest(
  place: OcdbtPlace,
  key: string,
  signal?: AbortSignal,
): Promise<{ readonly root: OcdbtRoot | 'numbered' } | null> {
  const info = await place.source.head(key, signal);
  if (info === null) return null;
  const span = { key, offset: 0, sizeBytes: info.sizeBytes };
  const cursor = await readEnvelope(place, span, MANIFEST_MAGIC, signal);
  cursor.bytes(UUID_BYTES);
  const kind = cursor.varint();
  // Most bytes of inline values and of nodes, arity of the version tree: for writers.
  cursor.varint();
  cursor.varint();
  cursor.u8();
  if (cursor.varint() === 1) cursor.u32();
  if (kind === 1 && cursor.left === 0) return { root: 'numbered' };
  if (kind !== 0 && kind !== 1) throw cursor.fail(`its kind is ${kind}, not 0 or 1`);
  return { root: readNewestVersion(cursor) };
}

/** Versions come column by column, oldest first. One without keys has no root: it lies nowhere. */
function readNewestVersion(cursor: ByteCursor): OcdbtRoot {
  const files = readDataFiles(cursor, '');
  const count = cursor.count(UUID_BYTES);
  if (count === 0) throw cursor.fail('it lists no version');
  const generations = cursor.varints(count);
  const heights = Array.from({ length: count }, () => cursor.u8());
  const fileIds = cursor.varints(count);
  const offsets = cursor.places(count);
  const lengths = cursor.places(count);
  const keyCounts = cursor.varints(count);
  if (generations.some((generation, i) => i > 0 && generation <= (generations[i - 1] ?? 0))) {
    throw cursor.fail('its versions are out of order');
  }
  const last = count - 1;
  const [offset, sizeBytes] = [offsets[last] ?? null, lengths[last] ?? null];
  const [height, keyCount] = [heights[last] ?? 0, keyCounts[last] ?? 0];
  if (keyCount === 0) throw cursor.fail('its newest version holds nothing');
  if (offset === null || sizeBytes === null) throw cursor.fail('its newest version lies nowhere');
  if (height > MAX_HEIGHT) throw cursor.fail(`its tree is ${height} levels high`);
  const { key, base } = fileAt(cursor, files, fileIds[last] ?? 0);
  return { span: { key, offset, sizeBytes }, base, height, keyCount };
}
