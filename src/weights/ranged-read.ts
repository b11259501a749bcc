import { runBounded } from '../lib/run-bounded.ts';
import type { ObjectSource } from './object-source.ts';

/** Longest single read, in bytes: bounds memory, and what a retry repeats. */
export const PIECE_BYTES: number = 16 * 2 ** 20;

/** Reads in flight: over a network latency is hidden, on a disk one read ahead is enough. */
const REMOTE_READS = 6;
const LOCAL_READS = 2;

export function parallelReads(source: ObjectSource): number {
  return source.readSync === undefined ? REMOTE_READS : LOCAL_READS;
}

export interface ByteSpan {
  readonly key: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Reads a span in pieces and hands each one over as it lands, in any order; several are in flight.
 * @param unitBytes pieces hold whole multiples of it
 * @param take gets the piece, valid during the call only, and where it begins within the span
 */
export async function readPieces(
  source: ObjectSource,
  span: ByteSpan,
  unitBytes: number,
  take: (piece: Uint8Array, at: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const pieceBytes = Math.max(1, Math.floor(PIECE_BYTES / unitBytes)) * unitBytes;
  const count = Math.ceil(span.sizeBytes / pieceBytes);
  const spare: Uint8Array[] = [];
  await runBounded(
    count,
    parallelReads(source),
    async (index, pieceSignal) => {
      const at = index * pieceBytes;
      const size = Math.min(pieceBytes, span.sizeBytes - at);
      const buffer = spare.pop() ?? new Uint8Array(Math.min(pieceBytes, span.sizeBytes));
      const piece = buffer.subarray(0, size);
      await source.read(span.key, span.offset + at, piece, pieceSignal);
      take(piece, at);
      spare.push(buffer);
    },
    signal,
  );
}

/** Fills `target` with the start of the span, in pieces, several in flight. */
export async function readSpan(
  source: ObjectSource,
  span: ByteSpan,
  target: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  await runBounded(
    Math.ceil(target.length / PIECE_BYTES),
    parallelReads(source),
    async (index, pieceSignal) => {
      const at = index * PIECE_BYTES;
      const piece = target.subarray(at, Math.min(at + PIECE_BYTES, target.length));
      await source.read(span.key, span.offset + at, piece, pieceSignal);
    },
    signal,
  );
}
