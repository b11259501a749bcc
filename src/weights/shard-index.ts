import { ServeError } from '../errors.ts';
import { jsonFields } from '../model/json-fields.ts';
import { checkObjectKey } from './object-key.ts';
import type { ObjectSource } from './object-source.ts';
import { readJson } from './read-json.ts';

/** The weight files of a model. */
export interface Shards {
  readonly files: readonly string[];
  /** Stored tensor name -> file that counts, where an index says so. */
  readonly fileOf: ReadonlyMap<string, string> | null;
}

const SINGLE_FILE = 'model.safetensors';
const INDEX_FILE = 'model.safetensors.index.json';
const SHARD = /^model-(\d+)(?:-of-(\d+))?\.safetensors$/;

/**
 * Finds the weight files: one file, those an index names, or numbered shards without an index.
 * @throws ServeError invalid_checkpoint, unsupported_model (only GGUF or pickled weights),
 * weights_unavailable (none)
 */
export async function findShards(source: ObjectSource, signal?: AbortSignal): Promise<Shards> {
  if ((await source.head(SINGLE_FILE, signal)) !== null) {
    return { files: [SINGLE_FILE], fileOf: null };
  }
  const index = await readJson(source, INDEX_FILE, signal);
  if (index !== undefined) return parseIndex(index);
  const names = await listNames(source, signal);
  const files = names === null ? await probeShards(source, signal) : numberedShards(names, source);
  if (files.length > 0) return { files, fileOf: null };
  throw missingFile(source, SINGLE_FILE, names);
}

/**
 * The error for a model whose `key` is absent, in words that fit what is there instead.
 * @param names the source's file names, null when it cannot list them
 */
export function missingFile(
  source: ObjectSource,
  key: string,
  names: readonly string[] | null,
): ServeError {
  const ends = (suffix: string): boolean => names?.some((name) => name.endsWith(suffix)) ?? false;
  if (ends('.gguf') && !ends('.safetensors')) {
    return new ServeError(
      'unsupported_model',
      `${source.name} holds GGUF files, which are made for llama.cpp; take a safetensors checkpoint such as gaunernst/gemma-3-4b-it-int4-awq`,
    );
  }
  if ((ends('.bin') || ends('.pt') || ends('.pth')) && !ends('.safetensors')) {
    return new ServeError(
      'unsupported_model',
      `${source.name} holds pickled PyTorch weights, which can run code; take the .safetensors files of this model`,
    );
  }
  return new ServeError(
    'weights_unavailable',
    `${source.name} has no ${key}; a model needs config.json, model.safetensors (or its numbered parts and model.safetensors.index.json), tokenizer.json and, if published, generation_config.json`,
  );
}

/** null when the source cannot tell. */
export async function listNames(
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<readonly string[] | null> {
  if (source.list === undefined) return null;
  try {
    return await source.list(signal);
  } catch {
    signal?.throwIfAborted();
    // The list only makes messages better and finds unindexed shards; without it both still work.
    return null;
  }
}

function parseIndex(index: unknown): Shards {
  const map = jsonFields(index, INDEX_FILE).value('weight_map');
  const fields = jsonFields(map ?? {}, `${INDEX_FILE}: weight_map`);
  const fileOf = new Map<string, string>();
  for (const [tensor, file] of Object.entries((map ?? {}) as Readonly<Record<string, unknown>>)) {
    if (typeof file !== 'string' || !file.endsWith('.safetensors')) {
      throw fields.error(tensor, 'must name a .safetensors file');
    }
    fileOf.set(tensor, checkObjectKey(file));
  }
  if (fileOf.size === 0) {
    throw new ServeError(
      'invalid_checkpoint',
      `${INDEX_FILE} has no weight_map; download it again`,
    );
  }
  return { files: [...new Set(fileOf.values())].toSorted(), fileOf };
}

function numberedShards(names: readonly string[], source: ObjectSource): readonly string[] {
  const files = names.filter((name) => SHARD.test(name)).toSorted();
  const total = Number(SHARD.exec(files[0] ?? '')?.[2] ?? files.length);
  if (files.length === total) return files;
  throw new ServeError(
    'weights_unavailable',
    `${source.name} has ${files.length} of ${total} weight files (${files.join(', ')}); download the others and ${INDEX_FILE}`,
  );
}

/** Without a list only the naming without a total can be found: model-00001, model-00002, ... */
async function probeShards(source: ObjectSource, signal?: AbortSignal): Promise<readonly string[]> {
  const files: string[] = [];
  for (;;) {
    const name = `model-${String(files.length + 1).padStart(5, '0')}.safetensors`;
    if ((await source.head(name, signal)) === null) return files;
    files.push(name);
  }
}
