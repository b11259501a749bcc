import { ServeError } from '../errors.ts';
import { runBounded } from '../lib/run-bounded.ts';
import { canonicalName, listedName } from '../model/tensor-names.ts';
import type { ObjectSource } from './object-source.ts';
import { parallelReads } from './ranged-read.ts';
import { readSafetensorsHeader } from './safetensors.ts';
import type { StoredTensor } from './safetensors.ts';
import type { Shards } from './shard-index.ts';

export interface CollectedTensors {
  /** By canonical name; AWQ parts as `name.qweight`, `name.qzeros`, `name.scales`. */
  readonly byName: ReadonlyMap<string, StoredTensor>;
  /** Stored names of tensors that no Gemma 3 uses, sorted. */
  readonly unknown: readonly string[];
}

/**
 * Reads the headers of all files and sorts out which tensor counts.
 * @throws ServeError invalid_checkpoint: a tensor is there twice, or not where the index says
 */
export async function collectTensors(
  source: ObjectSource,
  shards: Shards,
  signal?: AbortSignal,
): Promise<CollectedTensors> {
  const headers: (readonly StoredTensor[])[] = [];
  await runBounded(
    shards.files.length,
    parallelReads(source),
    async (index, headerSignal) => {
      headers[index] = await readSafetensorsHeader(source, shards.files[index] ?? '', headerSignal);
    },
    signal,
  );
  // An index decides between copies: some published checkpoints hold a layer in two files.
  const stored = headers
    .flat()
    .filter(({ storedName, key }) => (shards.fileOf?.get(storedName) ?? key) === key);
  checkIndex(source, shards, stored);

  const byName = new Map<string, StoredTensor>();
  const unknown: string[] = [];
  for (const tensor of stored) {
    const name = canonicalName(tensor.storedName);
    if (name === null) {
      unknown.push(tensor.storedName);
      continue;
    }
    const listed = listedName(name);
    const other = byName.get(listed);
    if (other !== undefined) {
      throw new ServeError(
        'invalid_checkpoint',
        `${source.name} holds ${listed} twice: ${other.storedName} in ${other.key} and ${tensor.storedName} in ${tensor.key}; remove the file that does not belong to this model`,
      );
    }
    byName.set(listed, tensor);
  }
  return { byName, unknown: unknown.toSorted() };
}

function checkIndex(source: ObjectSource, shards: Shards, stored: readonly StoredTensor[]): void {
  if (shards.fileOf === null) return;
  const found = new Set(stored.map(({ storedName }) => storedName));
  for (const [name, file] of shards.fileOf) {
    if (found.has(name)) continue;
    throw new ServeError(
      'invalid_checkpoint',
      `${source.name}: the index says that ${file} holds ${name}, but it does not: index and files are of different downloads; download both again`,
    );
  }
}
