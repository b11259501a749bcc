import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ServeError } from '../../src/errors.ts';
import { convertAhead, type ConvertArray } from '../../src/flax/convert-ahead.ts';
import type { ConversionPlan } from '../../src/flax/conversion-plan.ts';
import { storedBytes } from '../../src/flax/orbax-array.ts';
import type { PlannedShard } from '../../src/flax/planned-shards.ts';
import { isTemporary, writeWhole } from './atomic-write.ts';
import { createShardFile, hashFile } from './shard-file.ts';

export interface FolderConversion {
  readonly plan: ConversionPlan;
  /** Made if it is not there. */
  readonly folder: string;
  /** Small files beside those of the plan, such as tokenizer.json. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly convert: ConvertArray;
  /** Most bytes of tensors converted ahead of what is written. */
  readonly aheadBytes: number;
  readonly atOnce: number;
  /** Bytes of the source whose tensors an earlier run has written. */
  readonly onKept: (sourceBytes: number) => void;
  readonly signal?: AbortSignal;
}

export interface FolderResult {
  readonly shardCount: number;
  /** Of these, found whole from an earlier run. */
  readonly keptCount: number;
}

/** What a run wrote, so that the next one can go on. */
interface RunRecord {
  readonly fingerprint: string;
  readonly shards: Readonly<
    Record<string, { readonly sizeBytes: number; readonly sha256: string }>
  >;
}

const RECORD_FILE = 'gemlet-convert.json';

/**
 * Writes a conversion as a Hugging Face folder: shards one after the other, each there whole or not at
 * all, small files last, so that a folder with a config.json is complete. Shards that an earlier run of the
 * same conversion wrote are kept, after a look at their size and SHA-256.
 * @throws ServeError invalid_checkpoint (also: the folder holds another model), weights_unavailable
 */
export async function convertToFolder(options: FolderConversion): Promise<FolderResult> {
  const { plan, signal } = options;
  const folder = resolve(options.folder);
  await mkdir(folder, { recursive: true });
  const record = await readRecord(folder, plan);
  await removeLeftovers(folder);
  const done: Record<string, RunRecord['shards'][string]> = {};
  const keepRecord = (): Promise<boolean> =>
    writeFileWhole(folder, RECORD_FILE, encode({ fingerprint: plan.fingerprint, shards: done }));

  for (const shard of plan.shards) {
    const entry = record?.shards[shard.file];
    if (entry === undefined || !(await isWhole(folder, shard, entry, signal))) continue;
    done[shard.file] = entry;
    options.onKept(sourceBytesOf(shard));
  }
  const keptCount = Object.keys(done).length;
  const missing = plan.shards.filter(({ file }) => done[file] === undefined);
  await keepRecord();
  await writeShards(options, folder, missing, async (shard, sha256) => {
    done[shard.file] = { sizeBytes: shard.sizeBytes, sha256 };
    await keepRecord();
  });
  for (const [name, bytes] of [...options.files, ...plan.files]) {
    if (name !== 'config.json') await writeFileWhole(folder, name, bytes, signal);
  }
  await writeFileWhole(folder, 'config.json', plan.files.get('config.json') ?? encode({}), signal);
  return { shardCount: plan.shards.length, keptCount };
}

async function writeShards(
  { convert, aheadBytes, atOnce, signal }: FolderConversion,
  folder: string,
  shards: readonly PlannedShard[],
  onWritten: (shard: PlannedShard, sha256: string) => Promise<void>,
): Promise<void> {
  const items = shards.flatMap((shard) =>
    shard.arrays.map((array) => ({ shard, array, flax: array.flax })),
  );
  const pieces = convertAhead(
    items,
    ({ flax }, convertSignal) => convert(flax, convertSignal),
    // Large tables come in pieces that are not made before they are taken.
    ({ array, flax }) =>
      flax.transform.type === 'table' ? Math.min(array.sizeBytes, STREAM_BYTES) : array.sizeBytes,
    { aheadBytes, mostAtOnce: atOnce },
    signal,
  );
  let file: Awaited<ReturnType<typeof createShardFile>> | null = null;
  let left = 0;
  try {
    for await (const [{ shard }, piece] of pieces) {
      if (file === null) {
        file = await createShardFile(folder, shard.file);
        await file.write(shard.head);
        left = shard.tensorBytes;
      }
      await file.write(piece);
      left -= piece.length;
      if (left < 0) throw new RangeError(`${shard.file} would be too long`);
      if (left > 0) continue;
      await onWritten(shard, await file.finish());
      file = null;
    }
  } finally {
    await pieces.return(undefined);
    await file?.close();
  }
}

/** What pieces of a streamed array take while they wait. */
const STREAM_BYTES = 2 ** 26;

async function readRecord(folder: string, plan: ConversionPlan): Promise<RunRecord | null> {
  let record: RunRecord;
  try {
    record = JSON.parse(await readFile(join(folder, RECORD_FILE), 'utf8')) as RunRecord;
  } catch {
    // None, or damaged: nothing of it is relied on.
    record = { fingerprint: '', shards: {} };
  }
  if (record.fingerprint === plan.fingerprint) return record;
  const names = await readdir(folder);
  const other = names.find((name) => name.endsWith('.safetensors'));
  if (other === undefined) return null;
  throw new ServeError(
    'invalid_checkpoint',
    `${folder} holds ${other} of another model or conversion; give an empty folder, or remove its .safetensors files`,
  );
}

async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (isTemporary(name)) await rm(join(folder, name), { force: true });
  }
}

async function isWhole(
  folder: string,
  shard: PlannedShard,
  entry: RunRecord['shards'][string],
  signal?: AbortSignal,
): Promise<boolean> {
  const path = join(folder, shard.file);
  try {
    const { size } = await stat(path);
    if (size !== shard.sizeBytes || entry.sizeBytes !== size) return false;
    return (await hashFile(path, signal)) === entry.sha256;
  } catch {
    signal?.throwIfAborted();
    return false;
  }
}

function sourceBytesOf({ arrays }: PlannedShard): number {
  return arrays.reduce((sum, { flax }) => sum + storedBytes(flax.array), 0);
}

function writeFileWhole(
  folder: string,
  name: string,
  bytes: Uint8Array,
  signal?: AbortSignal,
): Promise<boolean> {
  return writeWhole(folder, join(folder, name), bytes, false, signal);
}

function encode(json: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`);
}
