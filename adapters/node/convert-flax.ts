import { readdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { packCheckpoint, type PackOptions } from '../../src/bundle/pack.ts';
import type { BundleManifest } from '../../src/bundle/manifest.ts';
import { ServeError } from '../../src/errors.ts';
import type { ConvertArray } from '../../src/flax/convert-ahead.ts';
import { planConversion, type ConversionPlan } from '../../src/flax/conversion-plan.ts';
import { createConvertedSource } from '../../src/flax/converted-source.ts';
import type { ConfigFiles } from '../../src/flax/flax-config.ts';
import { openOrbax } from '../../src/flax/open-orbax.ts';
import { buildVocabulary } from '../../src/prompt/build-vocabulary.ts';
import type { ObjectStore } from '../../src/weights/object-store.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { convertToFolder, type FolderResult } from './convert-folder.ts';
import { createConvertPool } from './convert-pool.ts';
import { openModelSource } from './open-source.ts';
import { unzstd } from './zstd.ts';

export interface FlaxConversionOptions {
  /** Folder, s3://bucket/folder or https URL of an Orbax checkpoint. */
  readonly location: string;
  readonly token: string | null;
  /** Folder with tokenizer.json and its like; null takes none. */
  readonly tokenizerFolder: string | null;
  /** Folder with a config.json to take instead of one derived from the shapes. */
  readonly configFolder: string | null;
  /** Default: one for each core. */
  readonly threads?: number | undefined;
  readonly onProgress: (sourceBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

/** Converted bytes that may wait for their turn: the largest array of a 27B makes 134 MB. */
const AHEAD_BYTES = 5e8;

const TOKENIZER_FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.json',
  'chat_template.jinja',
];
const CONFIG_FILES = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
];

/** Converts to a Hugging Face folder. @throws ServeError */
export async function convertFlaxToFolder(
  options: FlaxConversionOptions & { readonly folder: string },
): Promise<FolderResult & { readonly plan: ConversionPlan }> {
  return withConversion(options, async ({ plan, files, convert, atOnce, onBytes }) => {
    const result = await convertToFolder({
      plan,
      files,
      convert,
      folder: options.folder,
      aheadBytes: AHEAD_BYTES,
      atOnce,
      onKept: onBytes,
      ...signalOf(options),
    });
    return { ...result, plan };
  });
}

/** Converts to a bundle, in one pass and without a checkpoint in between. @throws ServeError */
export async function convertFlaxToBundle(
  options: FlaxConversionOptions & {
    readonly store: ObjectStore;
    readonly onPart: NonNullable<PackOptions['onProgress']>;
  },
): Promise<BundleManifest> {
  return withConversion(options, async ({ plan, files, convert, atOnce }) => {
    const source = createConvertedSource({ plan, files, convert, keptBytes: AHEAD_BYTES, atOnce });
    const checkpoint = await openCheckpoint(source, options.signal);
    try {
      return await packCheckpoint({
        checkpoint,
        source,
        store: options.store,
        buildVocabulary,
        onProgress: options.onPart,
        ...signalOf(options),
      });
    } finally {
      await checkpoint.close();
    }
  });
}

interface Conversion {
  readonly plan: ConversionPlan;
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly convert: ConvertArray;
  readonly atOnce: number;
  readonly onBytes: (sourceBytes: number) => void;
}

async function withConversion<T>(
  options: FlaxConversionOptions,
  work: (conversion: Conversion) => Promise<T>,
): Promise<T> {
  const { location, token, tokenizerFolder, configFolder } = options;
  const files = await readFiles(tokenizerFolder, TOKENIZER_FILES, 'tokenizer.json');
  const config = parseAll(await readFiles(configFolder, CONFIG_FILES, 'config.json'));
  const { source } = openModelSource(location, token ?? undefined);
  let plan: ConversionPlan;
  try {
    const orbax = await openOrbax(source, unzstd, options.signal);
    plan = await planConversion(orbax, configFolder === null ? {} : { config });
  } finally {
    await source.close();
  }
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    options.onProgress(done, plan.sourceBytes);
  };
  const threads = options.threads ?? availableParallelism();
  const pool = createConvertPool({ location, token, threads, onRead: onBytes });
  try {
    // Two more than there are threads, so that none waits for the one whose turn it is.
    return await work({ plan, files, convert: pool.convert, atOnce: threads + 2, onBytes });
  } finally {
    await pool.close();
  }
}

async function readFiles(
  folder: string | null,
  names: readonly string[],
  needed: string,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  if (folder === null) return files;
  const there = new Set(await readdir(folder));
  if (!there.has(needed)) {
    throw new ServeError('weights_unavailable', `${folder} has no ${needed}`);
  }
  for (const name of names) {
    if (there.has(name)) files.set(name, new Uint8Array(await readFile(join(folder, name))));
  }
  return files;
}

function parseAll(files: ReadonlyMap<string, Uint8Array>): ConfigFiles {
  return Object.fromEntries(
    [...files].map(([name, bytes]) => {
      try {
        return [name, JSON.parse(new TextDecoder().decode(bytes)) as unknown];
      } catch (cause) {
        throw new ServeError('invalid_checkpoint', `${name} given by --config is not JSON`, {
          cause,
        });
      }
    }),
  );
}

function signalOf(options: FlaxConversionOptions): { readonly signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal };
}
