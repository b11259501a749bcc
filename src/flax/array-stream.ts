import { FLOAT_SIZE, widen } from '../weights/dtype.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { openChunk, type ChunkStream } from './chunk-stream.ts';
import type { OrbaxArray } from './orbax-array.ts';
import { chunkGrid } from './zarr/zarr-metadata.ts';
import type { Unzstd } from './zstd.ts';

/** All values of an array in C order, whatever chunks it is cut into, as fast as they are taken. */
export interface ArrayStream {
  /** Fills `out` with the next values, widened to fp32. */
  take(out: Float32Array): Promise<void>;
  /** Ends reading; also needed after a failure. */
  close(): Promise<void>;
}

export interface ArrayPlace {
  readonly source: ObjectSource;
  readonly unzstd: Unzstd;
  /** Told of stored bytes as they are read. */
  readonly onRead?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

/** Values of narrow types widened at a time. */
const STAGING_VALUES = 2 ** 16;

interface OpenChunk {
  readonly stream: ChunkStream;
  /** Values within the array that were not read yet: chunks at edges are padded. */
  left: number;
}

/**
 * Memory: a window and a piece of each chunk that C order passes through at the same time, which are
 * those that lie side by side across all dimensions but the first that is cut.
 * @throws ServeError invalid_checkpoint, weights_unavailable
 */
export function openArray(array: OrbaxArray, place: ArrayPlace): ArrayStream {
  const { shape, chunkShape, dtype, name } = array;
  const grid = chunkGrid({ shape, chunks: chunkShape });
  const valueBytes = FLOAT_SIZE[dtype];
  const chunkValues = chunkShape.reduce((product, size) => product * size, 1);
  const total = shape.reduce((product, size) => product * size, 1);
  const run = runLength(shape, chunkShape);
  const staging = dtype === 'F32' ? null : new Uint8Array(STAGING_VALUES * valueBytes);
  const open = new Map<number, OpenChunk>();
  let next = 0;

  function chunkAt(index: number, extent: number): OpenChunk {
    const known = open.get(index);
    if (known !== undefined) return known;
    const chunk = array.chunks[index];
    if (chunk === undefined) throw new RangeError(`${name} has no chunk ${index}`);
    const where = `${place.source.name}: ${name}, chunk ${index}`;
    const { source, unzstd, onRead, signal } = place;
    const sizeBytes = chunkValues * valueBytes;
    const stream = openChunk({
      source,
      unzstd,
      codec: array.codec,
      chunk,
      sizeBytes,
      where,
      onRead,
      signal,
    });
    const opened = { stream, left: extent };
    open.set(index, opened);
    return opened;
  }

  /** Reads at most up to where C order leaves the chunk. @returns how many values */
  async function fillRun(out: Float32Array): Promise<number> {
    const { chunk, offset, extent } = locate(next, shape, chunkShape, grid);
    const count = Math.min(out.length, run - (next % run));
    const current = chunkAt(chunk, extent);
    await readValues(current.stream, offset, out.subarray(0, count));
    current.left -= count;
    if (current.left === 0) {
      await current.stream.finish();
      open.delete(chunk);
      await current.stream.close();
    }
    next += count;
    return count;
  }

  async function readValues(stream: ChunkStream, offset: number, out: Float32Array): Promise<void> {
    if (staging === null) {
      const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
      const waiting = stream.read(offset * valueBytes, bytes);
      if (waiting !== undefined) await waiting;
      return;
    }
    for (let done = 0; done < out.length;) {
      const count = Math.min(STAGING_VALUES, out.length - done);
      const bytes = staging.subarray(0, count * valueBytes);
      await stream.read((offset + done) * valueBytes, bytes);
      widen(dtype, bytes, out, done);
      done += count;
    }
  }

  return {
    async take(out) {
      if (next + out.length > total) throw new RangeError(`${name} has only ${total} values`);
      for (let done = 0; done < out.length;) {
        place.signal?.throwIfAborted();
        done += await fillRun(out.subarray(done));
      }
    },
    async close() {
      await Promise.all([...open.values()].map(({ stream }) => stream.close()));
      open.clear();
    },
  };
}

/** Values that follow each other both in the array and in a chunk, from a multiple of that many on. */
function runLength(shape: readonly number[], chunkShape: readonly number[]): number {
  let run = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    const [size, chunk] = [shape[i] ?? 1, chunkShape[i] ?? 1];
    if (chunk === size) {
      run *= size;
      continue;
    }
    // Whole chunks of the innermost dimension that is cut; its last one may be shorter.
    return chunk > size ? run * size : run * gcd(size, chunk);
  }
  return run;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** In which chunk the value at `index` lies, where there, and how many of the chunk's values count. */
function locate(
  index: number,
  shape: readonly number[],
  chunkShape: readonly number[],
  grid: readonly number[],
): { readonly chunk: number; readonly offset: number; readonly extent: number } {
  let rest = index;
  let [chunk, offset, extent] = [0, 0, 1];
  let [chunkStride, offsetStride] = [1, 1];
  for (let i = shape.length - 1; i >= 0; i--) {
    const [size, side, count] = [shape[i] ?? 1, chunkShape[i] ?? 1, grid[i] ?? 1];
    const at = rest % size;
    rest = (rest - at) / size;
    const which = Math.floor(at / side);
    chunk += which * chunkStride;
    offset += (at - which * side) * offsetStride;
    extent *= Math.min(side, size - which * side);
    chunkStride *= count;
    offsetStride *= side;
  }
  return { chunk, offset, extent };
}
