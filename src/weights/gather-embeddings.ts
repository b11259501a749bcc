import { runBounded } from '../lib/run-bounded.ts';
import type { UsedTensor } from './check-tensors.ts';
import type { Checkpoint } from './checkpoint.ts';
import { widen } from './dtype.ts';
import type { FloatDtype } from './dtype.ts';
import type { ObjectSource } from './object-source.ts';
import { parallelReads, PIECE_BYTES, readSpan } from './ranged-read.ts';

/** Over a network, reading this many bytes for nothing is cheaper than another request. */
const GAP_BYTES = 64 * 1024;

/**
 * Builds `Checkpoint.gatherEmbeddings` for a stored table: one synchronous read a row where bytes
 * are local, else few parallel reads that cover nearby rows together, until all of it is in memory.
 * @param table [rows, hidden], a float tensor
 */
export function createGather(
  source: ObjectSource,
  table: UsedTensor,
): Pick<Checkpoint, 'gatherEmbeddings' | 'loadEmbeddings'> {
  const [rows = 0, hidden = 0] = table.shape;
  const rowBytes = table.sizeBytes / rows;
  const dtype = table.dtype as FloatDtype;
  const readSync = source.readSync?.bind(source);
  // Rows are read one after the other without waiting, so that one buffer serves all calls.
  const row = new Uint8Array(rowBytes);
  let whole: Uint8Array | null = null;

  const gatherLocal = (
    read: NonNullable<ObjectSource['readSync']>,
    ids: Int32Array,
    out: Float32Array,
  ): void => {
    for (let i = 0; i < ids.length; i++) {
      // Image runs repeat one id hundreds of times.
      if (i > 0 && ids[i] === ids[i - 1]) {
        out.copyWithin(i * hidden, (i - 1) * hidden, i * hidden);
        continue;
      }
      read(table.key, table.offset + (ids[i] ?? 0) * rowBytes, row);
      widen(dtype, row, out, i * hidden);
    }
  };
  const gatherRemote = async (
    ids: Int32Array,
    out: Float32Array,
    signal?: AbortSignal,
  ): Promise<void> => {
    const spans = coalesce(ids, rowBytes);
    await runBounded(
      spans.length,
      parallelReads(source),
      async (index, spanSignal) => {
        const span = spans[index];
        if (span === undefined) return;
        const bytes = new Uint8Array((span.last - span.first + 1) * rowBytes);
        await source.read(table.key, table.offset + span.first * rowBytes, bytes, spanSignal);
        for (const at of span.positions) {
          const begin = ((ids[at] ?? 0) - span.first) * rowBytes;
          widen(dtype, bytes.subarray(begin, begin + rowBytes), out, at * hidden);
        }
      },
      signal,
    );
  };
  const copyRow = (_: string, offset: number, target: Uint8Array): void => {
    const start = offset - table.offset;
    target.set(whole?.subarray(start, start + target.length) ?? []);
  };
  return {
    gatherEmbeddings(ids, out, signal) {
      signal?.throwIfAborted();
      checkIds(ids, rows, hidden, out);
      if (readSync !== undefined) return gatherLocal(readSync, ids, out);
      return whole === null ? gatherRemote(ids, out, signal) : gatherLocal(copyRow, ids, out);
    },
    ...(readSync === undefined
      ? {
          async loadEmbeddings(signal?: AbortSignal): Promise<void> {
            if (whole !== null) return;
            const bytes = new Uint8Array(table.sizeBytes);
            await readSpan(source, table, bytes, signal);
            whole = bytes;
          },
        }
      : {}),
  };
}

interface RowSpan {
  readonly first: number;
  last: number;
  /** Indices into `ids` that its rows serve. */
  readonly positions: number[];
}

function coalesce(ids: Int32Array, rowBytes: number): readonly RowSpan[] {
  const order = Array.from(ids.keys()).toSorted((a, b) => (ids[a] ?? 0) - (ids[b] ?? 0));
  const spans: RowSpan[] = [];
  for (const position of order) {
    const id = ids[position] ?? 0;
    const span = spans.at(-1);
    const joins =
      span !== undefined &&
      (id - span.last - 1) * rowBytes <= GAP_BYTES &&
      (id - span.first + 1) * rowBytes <= PIECE_BYTES;
    if (joins) {
      span.last = id;
      span.positions.push(position);
    } else {
      spans.push({ first: id, last: id, positions: [position] });
    }
  }
  return spans;
}

function checkIds(ids: Int32Array, rows: number, hidden: number, out: Float32Array): void {
  if (out.length !== ids.length * hidden) {
    throw new RangeError(`${ids.length} embeddings need ${ids.length * hidden} values`);
  }
  for (const id of ids) {
    if (id < 0 || id >= rows) throw new RangeError(`token id ${id} is not in 0..${rows - 1}`);
  }
}
