import * as z from 'zod/mini';
import { ServeError } from '../errors.ts';
import type { Sha256 } from '../lib/sha256-hex.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { readJson } from '../weights/read-json.ts';

/**
 * A bundle is a model cut for loading over a network:
 *
 *     bundle.json            the manifest, written last
 *     config.json, ...       small files of the model as they were
 *     vocabulary.bin         the compact vocabulary
 *     parts/<sha256>         weights, a few MiB each, named by what is in them
 *
 * Weights are streams of bytes in the order of loading, cut into parts whatever the tensors. Tensors
 * begin at multiples of ALIGN_BYTES. A linear is stored as MatMulNBits takes it (see Int4Target): all
 * packed values, then all scales, then zero points where they matter.
 */
export const MANIFEST_KEY = 'bundle.json';
export const VOCABULARY_KEY = 'vocabulary.bin';
export const ALIGN_BYTES = 64;

export interface BundlePart {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export interface BundleFile extends BundlePart {
  readonly key: string;
}

export type StoredFloat = 'BF16' | 'F16' | 'F32';

export type BundleTensor =
  | {
      readonly type: 'float';
      readonly name: string;
      /** Where it begins in its stream. */
      readonly offset: number;
      readonly dtype: StoredFloat;
      readonly shape: readonly number[];
    }
  | {
      readonly type: 'int4';
      readonly name: string;
      readonly offset: number;
      readonly outFeatures: number;
      readonly inFeatures: number;
      readonly groupSize: number;
      readonly scales: StoredFloat;
      readonly symmetric: boolean;
    }
  /** The output head, rounded; scales are fp32, one for `blockSize` inputs. */
  | {
      readonly type: 'head';
      readonly name: 'head';
      readonly offset: number;
      readonly format: 'int8' | 'int4';
      readonly rows: number;
      readonly columns: number;
      readonly blockSize: number;
    };

export interface BundleStream {
  readonly sizeBytes: number;
  readonly parts: readonly BundlePart[];
  readonly tensors: readonly BundleTensor[];
}

export interface BundleTable {
  /** int4: on the grid of quantisation-aware training, in groups of 32 with fp32 scales. */
  readonly format: StoredFloat | 'int4';
  readonly rows: number;
  readonly columns: number;
  /** Rows are read in blocks of so many; every block is [packed or stored rows][scales of int4]. */
  readonly blockRows: number;
  readonly blocksPerPart: number;
  readonly parts: readonly BundlePart[];
  /** SHA-256 of each block, 32 bytes each. */
  readonly blockHashes: BundleFile;
}

export interface BundleManifest {
  readonly format: 'gemlet-bundle';
  readonly version: number;
  /** SHA-256 over all that decides what the model says: equal fingerprints, equal model. */
  readonly fingerprint: string;
  /** Dtype of the embedding table in the checkpoint; decides how embeddings are scaled. */
  readonly embeddingDtype: 'bfloat16' | 'float16' | 'float32';
  /** Bytes of the checkpoint it was made from. */
  readonly checkpointBytes: number;
  readonly files: readonly BundleFile[];
  /** Layers in order, the head and the final norm before the last few. */
  readonly decoder: BundleStream;
  readonly vision: BundleStream | null;
  readonly table: BundleTable;
}

const VERSION = 1;
const MAX_BYTES = 2 ** 45;

const hash = z.string().check(z.regex(/^[0-9a-f]{64}$/));
const size = z.int().check(z.gte(0), z.lte(MAX_BYTES));
const dimension = z.int().check(z.gte(1), z.lte(2 ** 31));
const floatDtype = z.enum(['BF16', 'F16', 'F32']);

const part = z.object({ sha256: hash, sizeBytes: z.int().check(z.gte(1), z.lte(2 ** 27)) });
const file = z.object({ key: z.string(), sizeBytes: size, sha256: hash });

const tensor = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('float'),
    name: z.string(),
    offset: size,
    dtype: floatDtype,
    shape: z.array(dimension),
  }),
  z.object({
    type: z.literal('int4'),
    name: z.string(),
    offset: size,
    outFeatures: dimension,
    inFeatures: dimension,
    groupSize: z.union([z.literal(32), z.literal(64), z.literal(128)]),
    scales: floatDtype,
    symmetric: z.boolean(),
  }),
  z.object({
    type: z.literal('head'),
    name: z.literal('head'),
    offset: size,
    format: z.enum(['int8', 'int4']),
    rows: dimension,
    columns: dimension,
    blockSize: dimension,
  }),
]);

const stream = z.object({ sizeBytes: size, parts: z.array(part), tensors: z.array(tensor) });

const table = z.object({
  format: z.enum(['BF16', 'F16', 'F32', 'int4']),
  rows: dimension,
  columns: dimension,
  blockRows: dimension,
  blocksPerPart: dimension,
  parts: z.array(part),
  blockHashes: file,
});

const manifest = z.object({
  format: z.literal('gemlet-bundle'),
  version: z.int(),
  fingerprint: hash,
  embeddingDtype: z.enum(['bfloat16', 'float16', 'float32']),
  checkpointBytes: size,
  files: z.array(file),
  decoder: stream,
  vision: z.nullable(stream),
  table,
});

export function partKey({ sha256 }: Pick<BundlePart, 'sha256'>): string {
  return `parts/${sha256}`;
}

/** SHA-256 over everything that decides what the model says. */
export async function fingerprintOf(
  bundle: Omit<BundleManifest, 'fingerprint'>,
  sha256: Sha256,
): Promise<string> {
  const { files, decoder, vision } = bundle;
  const content = JSON.stringify([
    files.map((each) => [each.key, each.sha256]),
    bundle.embeddingDtype,
    decoder.tensors,
    decoder.parts,
    vision?.tensors ?? [],
    vision?.parts ?? [],
    bundle.table,
  ]);
  return sha256(new TextEncoder().encode(content));
}

/**
 * Reads the manifest of a bundle.
 * @returns null when there is none: the source may hold a Hugging Face checkpoint
 * @throws ServeError invalid_checkpoint
 */
export async function readManifest(
  source: ObjectSource,
  signal?: AbortSignal,
): Promise<BundleManifest | null> {
  const json = await readJson(source, MANIFEST_KEY, signal);
  return json === undefined ? null : parseManifest(json, source.name);
}

export function parseManifest(json: unknown, where: string): BundleManifest {
  const version = (json as { readonly version?: unknown } | null)?.version;
  if (typeof version === 'number' && version !== VERSION) {
    throw new ServeError(
      'invalid_checkpoint',
      `${where}: the bundle has version ${version}, this gemlet reads ${VERSION}. Pack the model again, or use the gemlet that packed it.`,
    );
  }
  const parsed = manifest.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path.join('.') ?? '';
  throw new ServeError(
    'invalid_checkpoint',
    `${where}: ${MANIFEST_KEY} is damaged at "${path}" (${issue?.message ?? 'unreadable'}). Run gemlet pack again.`,
  );
}
