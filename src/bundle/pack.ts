import { sha256Hex } from '../lib/sha256-hex.ts';
import { layersBeforeHead } from '../model/load-order.ts';
import { expectedTensors } from '../model/tensor-shapes.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import type { ObjectStore } from '../weights/object-store.ts';
import type { OpenedCheckpoint } from '../weights/open-checkpoint.ts';
import { fingerprintOf, MANIFEST_KEY, VOCABULARY_KEY } from './manifest.ts';
import type { BundleFile, BundleManifest, BundleStream, BundleTensor } from './manifest.ts';
import { chooseTableFormat, packTable } from './pack-table.ts';
import { packHead, packTensor } from './pack-tensors.ts';
import { createPartWriter, type PartWriter } from './part-writer.ts';

export interface PackOptions {
  readonly checkpoint: OpenedCheckpoint;
  /** Where the checkpoint's small files are. */
  readonly source: ObjectSource;
  readonly store: ObjectStore;
  /**
   * How the output head is kept. Default: the table itself where it lies on the int4 grid, else int8;
   * `table` keeps none, so that it is rounded from the table at every load.
   */
  readonly head?: 'int8' | 'int4' | 'table';
  /** From tokenizer.json to the compact vocabulary. */
  readonly buildVocabulary: (tokenizerJson: Uint8Array<ArrayBuffer>) => Promise<Uint8Array>;
  readonly partBytes?: number;
  readonly onProgress?: (progress: PackProgress) => void;
  readonly signal?: AbortSignal;
}

export interface PackProgress {
  /** Bytes of the bundle that are in the store. */
  readonly doneBytes: number;
  /** Of these, sent now: the rest was there. */
  readonly sentBytes: number;
  /** About what the bundle will have. */
  readonly totalBytes: number;
}

const PART_BYTES = 8 * 2 ** 20;
const IN_FLIGHT = 4;
/** Small files that a model is served with; the first must be there. */
const FILES = [
  'config.json',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'tokenizer_config.json',
] as const;
const TOKENIZER_KEY = 'tokenizer.json';

/**
 * Writes a checkpoint as a bundle: every part that the store lacks, then the manifest, so that a
 * bundle is there whole or not at all. Packing again sends only what is missing or differs.
 * Memory: a few tensors and parts.
 * @throws ServeError of the source or the store
 */
export async function packCheckpoint(options: PackOptions): Promise<BundleManifest> {
  const { checkpoint, store, signal } = options;
  const partBytes = options.partBytes ?? PART_BYTES;
  const totalBytes = checkpoint.sizeBytes;
  let doneBytes = 0;
  let sentBytes = 0;
  const onPart = (bytes: number, sent: boolean): void => {
    doneBytes += bytes;
    if (sent) sentBytes += bytes;
    options.onProgress?.({ doneBytes, sentBytes, totalBytes });
  };
  const createWriter = (size: number): PartWriter =>
    createPartWriter({ store, partBytes: size, inFlight: IN_FLIGHT, onPart, signal });

  const files = await packFiles(options);
  const tableFormat = await chooseTableFormat(checkpoint, signal);
  const head = options.head ?? (tableFormat === 'int4' ? 'table' : 'int8');
  const names = expectedTensors(checkpoint.config);
  const decoderNames = names
    .filter(({ part, name }) => part === 'decoder' && name !== 'norm')
    .map(({ name }) => name);
  const visionNames = names
    .filter(({ part }) => part === 'vision' || part === 'projector')
    .map(({ name }) => name);

  const decoder = await packStream(createWriter(partBytes), async (writer) => {
    const tensors: BundleTensor[] = [];
    const write = async (list: readonly string[]): Promise<void> => {
      for (const name of list) tensors.push(await packTensor(checkpoint, name, writer, signal));
    };
    const before = layersBeforeHead(checkpoint.config.text.layerCount);
    await write(decoderNames.filter((name) => layerOf(name) < before));
    const rounded = head === 'table' ? null : await packHead(checkpoint, head, writer, signal);
    if (rounded !== null) tensors.push(rounded);
    else if (checkpoint.tensors.has('lm_head')) await write(['lm_head']);
    // What the head's session reads comes with the head.
    await write(['norm', ...decoderNames.filter((name) => layerOf(name) >= before)]);
    return tensors;
  });
  const table = await packTable(checkpoint, tableFormat, store, createWriter, partBytes, signal);
  const vision =
    visionNames.length === 0
      ? null
      : await packStream(createWriter(partBytes), async (writer) => {
          const tensors: BundleTensor[] = [];
          for (const name of visionNames) {
            tensors.push(await packTensor(checkpoint, name, writer, signal));
          }
          return tensors;
        });
  const content = {
    format: 'gemlet-bundle' as const,
    version: 1,
    embeddingDtype: embeddingDtypeOf(checkpoint),
    checkpointBytes: checkpoint.sizeBytes,
    files: [...files],
    decoder,
    vision,
    table,
  };
  const fingerprint = await fingerprintOf(content, sha256Hex);
  const manifest: BundleManifest = { ...content, fingerprint };
  const json = new TextEncoder().encode(JSON.stringify(manifest));
  await store.write(MANIFEST_KEY, json, signal === undefined ? {} : { signal });
  return manifest;
}

function layerOf(name: string): number {
  return Number(/^layers\.(\d+)\./.exec(name)?.[1] ?? 0);
}

async function packStream(
  writer: PartWriter,
  write: (writer: PartWriter) => Promise<BundleTensor[]>,
): Promise<BundleStream> {
  const tensors = await write(writer);
  await writer.align();
  const sizeBytes = writer.offset;
  return { sizeBytes, parts: [...(await writer.finish())], tensors };
}

async function packFiles(options: PackOptions): Promise<readonly BundleFile[]> {
  const { source, store, signal } = options;
  const files: BundleFile[] = [];
  const keep = async (key: string, bytes: Uint8Array): Promise<void> => {
    await store.write(key, bytes, signal === undefined ? {} : { signal });
    files.push({ key, sizeBytes: bytes.length, sha256: await sha256Hex(bytes) });
  };
  for (const key of FILES) {
    const bytes = await readFile(source, key, signal);
    if (bytes !== null) await keep(key, bytes);
  }
  const tokenizer = await readFile(source, TOKENIZER_KEY, signal);
  if (tokenizer !== null) await keep(VOCABULARY_KEY, await options.buildVocabulary(tokenizer));
  return files;
}

async function readFile(
  source: ObjectSource,
  key: string,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const info = await source.head(key, signal);
  if (info === null) return null;
  const bytes = new Uint8Array(info.sizeBytes);
  await source.read(key, 0, bytes, signal);
  return bytes;
}

function embeddingDtypeOf(checkpoint: OpenedCheckpoint): BundleManifest['embeddingDtype'] {
  const dtype = checkpoint.tensors.get('embed_tokens')?.dtype;
  if (dtype === 'BF16') return 'bfloat16';
  return dtype === 'F16' ? 'float16' : 'float32';
}
