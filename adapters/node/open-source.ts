import { existsSync, statfsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ServeError } from '../../src/errors.ts';
import { createHttpsSource } from '../../src/weights/https-source.ts';
import { parseModelLocation } from '../../src/weights/model-location.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';
import { createS3Store } from '../s3/s3-store.ts';
import { createFolderSource } from './folder-source.ts';
import { createFolderStore, type FolderStoreOptions } from './folder-store.ts';

export interface ModelSource {
  readonly source: ObjectSource;
  /** What clients call the model unless told otherwise. */
  readonly id: string;
}

/** The name of the small model that comes with the package. */
export const DEMO_MODEL = 'demo';

/**
 * Finds a model: `demo`, a folder (`file:` may stand before it), `hf:org/name[@revision]`,
 * `s3://bucket/folder` or an https URL of a folder.
 * @param token for private and gated repositories of the Hugging Face hub
 * @throws ServeError weights_unavailable, invalid_url
 */
export function openModelSource(model: string, token?: string): ModelSource {
  if (model === DEMO_MODEL) {
    return { source: createFolderSource(demoModelFolder()), id: 'gemlet-demo' };
  }
  if (model.startsWith('s3:')) {
    const source = openS3(model);
    return { source, id: basename(source.name) };
  }
  if (/^(hf:|https?:)/.test(model)) {
    const location = parseModelLocation(model);
    const id = location.type === 'hub' ? location.repo : basename(location.url.pathname);
    return {
      source: createHttpsSource(model, { token: token ?? null }),
      id,
    };
  }
  const folder = folderOf(model);
  if (!existsSync(folder)) {
    throw new ServeError(
      'weights_unavailable',
      `There is no model at ${model}. Give a folder with a Hugging Face checkpoint, hf:org/name, s3://bucket/folder, an https URL of such a folder, or "${DEMO_MODEL}".`,
    );
  }
  return { source: createFolderSource(folder), id: basename(resolve(folder)) };
}

/**
 * Opens a place that can be written: a folder, made with its first object, or `s3://bucket/folder`.
 * @throws ServeError invalid_url
 */
export function openModelStore(location: string, options: FolderStoreOptions = {}): ObjectStore {
  if (location.startsWith('s3:')) return openS3(location);
  if (location === DEMO_MODEL || /^(hf:|https?:)/.test(location)) {
    throw new ServeError(
      'invalid_url',
      `${location === DEMO_MODEL ? 'The demo model' : 'A model on the web'} can be read but not written; give a folder or s3://bucket/folder.`,
    );
  }
  return createFolderStore(folderOf(location), options);
}

/** Bytes of the disk that a folder lies on, or would; null elsewhere and where the system does not tell. */
export function diskBytesOf(location: string): number | null {
  if (location.startsWith('s3:')) return null;
  for (let folder = resolve(folderOf(location)); ; folder = dirname(folder)) {
    if (!existsSync(folder) && folder !== dirname(folder)) continue;
    try {
      const { blocks, bsize } = statfsSync(folder);
      return blocks * bsize;
    } catch {
      return null;
    }
  }
}

/** The endpoint decides how buckets are addressed, so that the SDK's own look at it comes too late. */
function openS3(url: string): ObjectStore {
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL } = process.env;
  const endpoint = [AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL].find((value) => (value ?? '') !== '');
  return createS3Store({ url, endpoint });
}

/** `path`, `file:path` and `file:///path`. */
function folderOf(location: string): string {
  if (location.startsWith('file://')) {
    try {
      return fileURLToPath(location);
    } catch (error) {
      throw new ServeError(
        'invalid_url',
        'This is not the location of a folder: it is written file:///path or as the path alone',
        { cause: error },
      );
    }
  }
  return location.replace(/^file:/, '');
}

/** The folder of the model that comes with the package, from sources and from dist alike. */
export function demoModelFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const candidate = join(folder, 'infra', 'demo-model');
    if (existsSync(join(candidate, 'config.json'))) return candidate;
    const parent = dirname(folder);
    if (parent === folder) {
      throw new ServeError('weights_unavailable', 'The demo model is missing from the package.');
    }
    folder = parent;
  }
}
