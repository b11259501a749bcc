import { jsonFields } from '../model/json-fields.ts';
import { checkObjectKey } from '../weights/object-key.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { readJson } from '../weights/read-json.ts';
import type { OcdbtPlace } from './ocdbt-envelope.ts';
import { listOcdbtKeys } from './ocdbt-keys.ts';
import type { StoredValue } from './ocdbt-node.ts';

/** Finds an array's metadata and chunks by key, whatever the layout. */
export interface OrbaxIndex {
  readonly layout: 'ocdbt' | 'directories';
  /** Of all arrays. */
  readonly names: readonly string[];
  find(key: string, signal?: AbortSignal): Promise<StoredValue | null>;
}

/** What an array's name is followed by in the key of its metadata. */
export const METADATA = '/.zarray';
/** Orbax' own description of the tree. */
export const TREE_FILE = '_METADATA';

/** null where the source holds no OCDBT database. */
export async function openDatabase(
  place: OcdbtPlace,
  signal?: AbortSignal,
): Promise<OrbaxIndex | null> {
  const keys = await listOcdbtKeys(place, signal);
  if (keys === null) return null;
  return {
    layout: 'ocdbt',
    names: [...keys.keys()]
      .filter((key) => key.endsWith(METADATA))
      .map((key) => key.slice(0, -METADATA.length)),
    find: async (key) => keys.get(key) ?? null,
  };
}

/**
 * The layout without OCDBT: a directory for each array, named by its path in the tree joined with dots.
 * @returns null where there is no description of the tree
 * @throws ServeError invalid_checkpoint
 */
export async function openDirectories(
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<OrbaxIndex | null> {
  const json = await readJson(source, TREE_FILE, signal);
  if (json === undefined) return null;
  const tree = jsonFields(json, TREE_FILE).value('tree_metadata') ?? {};
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
