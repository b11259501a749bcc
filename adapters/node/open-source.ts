import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ServeError } from '../../src/errors.ts';
import { createHttpsSource } from '../../src/weights/https-source.ts';
import { parseModelLocation } from '../../src/weights/model-location.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { createFolderSource } from './folder-source.ts';

export interface ModelSource {
  readonly source: ObjectSource;
  /** What clients call the model unless told otherwise. */
  readonly id: string;
}

/** The name of the small model that comes with the package. */
export const DEMO_MODEL = 'demo';

/**
 * Finds a model: `demo`, a folder, `hf:org/name[@revision]` or an https URL of a folder.
 * @param token for private and gated repositories of the Hugging Face hub
 * @throws ServeError weights_unavailable, invalid_url
 */
export function openModelSource(model: string, token?: string): ModelSource {
  if (model === DEMO_MODEL) {
    return { source: createFolderSource(demoModelFolder()), id: 'gemlet-demo' };
  }
  if (/^(hf:|https?:)/.test(model)) {
    const location = parseModelLocation(model);
    const id = location.type === 'hub' ? location.repo : basename(location.url.pathname);
    return {
      source: createHttpsSource(model, { token: token ?? null }),
      id,
    };
  }
  if (!existsSync(model)) {
    throw new ServeError(
      'weights_unavailable',
      `There is no model at ${model}. Give a folder with a Hugging Face checkpoint, hf:org/name, an https URL of such a folder, or "${DEMO_MODEL}".`,
    );
  }
  return { source: createFolderSource(model), id: basename(resolve(model)) };
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
