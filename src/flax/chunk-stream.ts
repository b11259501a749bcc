import type { ObjectSource } from '../weights/object-source.ts';
import { damaged } from './byte-cursor.ts';
import type { StoredValue } from './ocdbt-node.ts';
import { unzstdExactly, type Unzstd } from './zstd.ts';

/** The unpacked bytes of one chunk, from front to back, as its reader asks for them. */
export interface ChunkStream {
  /** Passes over bytes before `offset`, then fills `target`; waits only where nothing is unpacked. */
  read(offset: number, target: Uint8Array): Promise<void> | void;
  /** Unpacks what is left and checks that nothing is missing or too much. */
  finish(): Promise<void>;
  /** Ends reading before the end. */
  close(): Promise<void>;
}

export interface ChunkPlace {
  readonly source: ObjectSource;
  readonly unzstd: Unzstd;
  readonly codec: 'zstd' | 'none';
  readonly chunk: StoredValue;
  /** Unpacked. */
  readonly sizeBytes: number;
  /** For messages. */
  readonly where: string;
  readonly onRead?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of one read; the next is under way while one is unpacked. */
const READ_BYTES = 2 ** 20;

export function openChunk(place: ChunkPlace): ChunkStream {
  const { where, sizeBytes } = place;
  const stored = readStored(place);
  const pieces = (
    place.codec === 'zstd' ? unzstdExactly(place.unzstd, stored, sizeBytes, where) : stored
  )[Symbol.asyncIterator]();
  let piece = new Uint8Array(0);
  /** Where `piece` begins in the chunk. */
  let pieceStart = 0;

  async function advance(): Promise<boolean> {
    const next = await pieces.next();
    pieceStart += piece.length;
    piece = next.done === true ? new Uint8Array(0) : (next.value as Uint8Array<ArrayBuffer>);
    return next.done !== true;
  }

  async function readSlowly(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const from = offset + done - pieceStart;
      if (from >= piece.length) {
        if (await advance()) continue;
        throw damaged(where, `it has ${pieceStart} bytes, not ${sizeBytes}`);
      }
      const part = piece.subarray(from, from + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  return {
    read(offset, target) {
      const from = offset - pieceStart;
      if (from + target.length > piece.length) return readSlowly(offset, target);
      target.set(piece.subarray(from, from + target.length));
      return undefined;
    },
    async finish() {
      while (await advance());
      if (pieceStart !== sizeBytes) {
        throw damaged(where, `it has ${pieceStart} bytes, not ${sizeBytes}`);
      }
    },
    async close() {
      await pieces.return(undefined);
    },
  };
}

/** Stored bytes in pieces, one read ahead. */
async function* readStored(place: ChunkPlace): AsyncGenerator<Uint8Array> {
  const { source, chunk, signal } = place;
  if (chunk.type === 'inline') {
    place.onRead?.(chunk.bytes.length);
    yield chunk.bytes;
    return;
  }
  const { key, offset, sizeBytes } = chunk;
  const start = (at: number): Promise<Uint8Array> | null => {
    if (at >= sizeBytes) return null;
    const piece = new Uint8Array(Math.min(READ_BYTES, sizeBytes - at));
    const reading = source.read(key, offset + at, piece, signal).then(() => piece);
    // A failure is met when its turn comes, or nobody asks for it any more.
    reading.catch(() => undefined);
    return reading;
  };
  let reading = start(0);
  try {
    for (let at = 0; reading !== null;) {
      const piece = await reading;
      at += piece.length;
      reading = start(at);
      place.onRead?.(piece.length);
      yield piece;
    }
  } finally {
    // A read must not outlive its reader: the source may be closed next.
    await reading?.catch(() => undefined);
  }
}
