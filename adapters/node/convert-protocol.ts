import type { FlaxArray } from '../../src/flax/flax-tensors.ts';

/** Messages between a conversion and its threads. */
export interface WorkerSetup {
  /** As the person gave it: every thread opens the source itself. */
  readonly location: string;
  readonly token: string | null;
}

export type ToWorker =
  | { readonly type: 'convert'; readonly flax: FlaxArray }
  /** A piece was taken: another may be sent. */
  | { readonly type: 'taken' }
  | { readonly type: 'stop' };

export type FromWorker =
  | { readonly type: 'read'; readonly bytes: number }
  | { readonly type: 'piece'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly error: unknown };

/** Pieces a thread may be ahead of its reader: all of an int4 array, some MiB of others. */
export const PIECES_AHEAD = 8;
