import { ServeError } from '../errors.ts';
import { jsonFields } from '../model/json-fields.ts';
import { checkObjectKey } from '../weights/object-key.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { readJson } from '../weights/read-json.ts';
import type { OcdbtPlace } from './ocdbt-envelope.ts';
import { listOcdbtKeys } from './ocdbt-keys.ts';
import { OCDBT_MANIFEST } from './ocdbt-manifest.ts';
import type { StoredValue } from './ocdbt-node.ts';
import { arrayNameOf } from './zarr/describe-array.ts';

/** Finds an array's metadata and chunks by key, whatever the layout. */
export interface OrbaxIndex {
  readonly layout: 'ocdbt' | 'directories';
  /** Of all arrays. */
  readonly names: readonly string[];
  find(key: string, signal?: AbortSignal): Promise<StoredValue | null>;
}

/** Orbax' own description of the tree. */
export const TREE_FILE = '_METADATA';
/** What the first process wrote of a database: there where the database should be. */
const PROCESS_MANIFEST = `ocdbt.process_0/${OCDBT_MANIFEST}`;

/** null where the source holds no OCDBT database. */
export async function openDatabase(
  place: OcdbtPlace,
  signal?: AbortSignal,
): Promise<OrbaxIndex | null> {
  const keys = await listOcdbtKeys(place, signal);
  if (keys === null) return null;
  return {
    layout: 'ocdbt',
    names: [...keys.keys()].map(arrayNameOf).filter((name) => name !== null),
    find: async (key) => keys.get(key) ?? null,
  };
}

/**
 * The layout without OCDBT: a directory for each array, named by its path in the tree joined with dots.
 * @returns null where there is no description of the tree
 * @throws ServeError invalid_checkpoint, weights_unavailable (it is one with OCDBT that lacks its database)
 */
export async function openDirectories(
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<OrbaxIndex | null> {
  const json = await readJson(source, TREE_FILE, signal);
  if (json === undefined) return null;
  const fields = jsonFields(json, TREE_FILE);
  const hasProcess = (await source.head(PROCESS_MANIFEST, signal)) !== null;
  if (fields.boolean('use_ocdbt', hasProcess)) {
    throw new ServeError(
      'weights_unavailable',
      `${source.name} has no ${OCDBT_MANIFEST}, which lists its arrays and where they lie: download all files of the checkpoint`,
    );
  }
  const tree = fields.value('tree_metadata') ?? {};
  const names = Object.entries(tree).map(([path, entry]) => {
    const keys = jsonFields(entry, `${TREE_FILE}: ${path}`).value('key_metadata');
    const parts = Array.isArray(keys)
      ? keys.map((key) => (key as { key?: unknown } | null)?.key)
      : [];
    return checkObjectKey(parts.join('.'));
  });
  return {
    layout: 'directories',
    names,
    async find(key, findSignal) {
      const info = await source.head(key, findSignal);
      return info === null ? null : { type: 'span', key, offset: 0, sizeBytes: info.sizeBytes };
    },
  };
}
