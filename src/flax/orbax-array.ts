import type { ServeError } from '../errors.ts';
import type { FloatDtype } from '../weights/dtype.ts';
import type { StoredValue } from './ocdbt-node.ts';

/** One array of an Orbax checkpoint: plain data that another thread can read from, too. */
export interface OrbaxArray {
  /** As stored, such as `transformer/layer_0/attn/q_einsum.w`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly chunkShape: readonly number[];
  readonly dtype: FloatDtype;
  readonly codec: 'zstd' | 'none';
  /** In C order of the chunk grid. */
  readonly chunks: readonly StoredValue[];
}

/** An Orbax checkpoint whose index was read. */
export interface OrbaxCheckpoint {
  /** The source's name. */
  readonly name: string;
  readonly layout: 'ocdbt' | 'directories';
  /** By stored name. */
  readonly arrays: ReadonlyMap<string, OrbaxArray>;
  /** What is whole but of a kind that cannot be read, such as the integers of a trainer, with why. */
  readonly unreadable: ReadonlyMap<string, ServeError>;
  /** Equal for equal checkpoints: over the index, and names, sizes and etags of the files. */
  readonly fingerprint: string;
}

/** Bytes that reading it takes. */
export function storedBytes({ chunks }: OrbaxArray): number {
  return chunks.reduce((sum, chunk) => sum + chunkBytes(chunk), 0);
}

export function chunkBytes(chunk: StoredValue): number {
  return chunk.type === 'inline' ? chunk.bytes.length : chunk.sizeBytes;
}

/** Where its first chunk lies: arrays are read in the order of their files. */
export function compareByPlace(a: OrbaxArray, b: OrbaxArray): number {
  const [first, second] = [placeOf(a), placeOf(b)];
  if (first.key !== second.key) return first.key < second.key ? -1 : 1;
  return first.offset - second.offset;
}

function placeOf({ chunks }: OrbaxArray): { readonly key: string; readonly offset: number } {
  const first = chunks.find((chunk) => chunk.type === 'span');
  return first?.type === 'span' ? first : { key: '', offset: 0 };
}
