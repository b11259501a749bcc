import {
  createRowRing,
  ringCapacity,
  type RowRing,
  type RowRingOptions,
} from '../../src/engine/row-ring.ts';
import type { LayerType, TextConfig } from '../../src/model/config.ts';
import { allocateNative, type NativeMemory } from './native-memory.ts';

/**
 * Keys and values of all rows, fp32: per layer and kind one buffer [rows, kvHeads, capacity,
 * headDim], where capacity is the context on global layers and the ring on local ones. Pages are
 * only resident once written; large ones, since attention walks through all of a head's entries.
 */
export interface KvCache {
  /** State of each row; look it up anew for each call, since rows are swapped. */
  readonly rows: readonly RowRing[];
  readonly capacity: Readonly<Record<LayerType, number>>;
  /** Buffers of a layer: keys, values. */
  readonly layers: readonly (readonly [NativeMemory, NativeMemory])[];
  /** Bytes of one row of one buffer of this layer. */
  rowBytes(layer: number): number;
  /** Makes room in `row` for `count` tokens, moving local entries down where needed. */
  reserve(row: number, count: number): void;
  copyRow(from: number, to: number, length: number): void;
  /** Exchanges content and state of two rows. */
  swapRows(a: number, b: number): void;
  free(): void;
}

/**
 * Cache rows before row 0. A row that decodes alone takes a neighbour along where the kernels would
 * otherwise give it other bits than in a batch; for row 0 that is the spare row, always empty. With
 * one row there are no batches, and nothing to keep up with.
 */
export const SPARE_ROWS = 1;

/** Rows are numbered as the memory is laid out, the spare row included. */
export function createKvCache(
  config: TextConfig,
  rowCount: number,
  contextTokens: number,
  ring: RowRingOptions,
): KvCache {
  const { kvHeadCount, headDim, layerTypes } = config;
  // One spare entry, so that a batched decode may run over a full idle row.
  const capacity = { global: contextTokens + 1, local: ringCapacity(ring) };
  const headFloats = (layer: number): number => capacity[layerTypes[layer] as LayerType] * headDim;
  const rowBytes = (layer: number): number => kvHeadCount * headFloats(layer) * 4;
  const layers = layerTypes.map(
    (_, layer) =>
      [
        allocateNative(rowCount * rowBytes(layer), { hugePages: true }),
        allocateNative(rowCount * rowBytes(layer), { hugePages: true }),
      ] as const,
  );
  const floats = layers.map((pair) => pair.map((memory) => new Float32Array(memory.buffer)));
  const rows = Array.from({ length: rowCount }, () => createRowRing(ring));
  const rowOf = (row: number): RowRing => {
    const found = rows[row];
    if (found === undefined) throw new RangeError(`no row ${row} among ${rowCount}`);
    return found;
  };

  /** Moves [start, start + count) of every head of `from` to [0, count) of `to`. */
  const move = (type: LayerType, from: number, to: number, start: number, count: number): void => {
    for (const [layer, pair] of floats.entries()) {
      if (layerTypes[layer] !== type) continue;
      const size = headFloats(layer);
      for (const values of pair) {
        for (let head = 0; head < kvHeadCount; head++) {
          const source = (from * kvHeadCount + head) * size + start * headDim;
          values.copyWithin((to * kvHeadCount + head) * size, source, source + count * headDim);
        }
      }
    }
  };

  /** Exchanges [0, count.a) of every head of `a` with [0, count.b) of every head of `b`. */
  const exchange = (
    type: LayerType,
    a: number,
    b: number,
    count: { readonly a: number; readonly b: number },
  ): void => {
    const held = new Float32Array(count.a * headDim);
    for (const [layer, pair] of floats.entries()) {
      if (layerTypes[layer] !== type) continue;
      const size = headFloats(layer);
      for (const values of pair) {
        for (let head = 0; head < kvHeadCount; head++) {
          const atA = (a * kvHeadCount + head) * size;
          const atB = (b * kvHeadCount + head) * size;
          held.set(values.subarray(atA, atA + held.length));
          values.copyWithin(atA, atB, atB + count.b * headDim);
          values.set(held, atB);
        }
      }
    }
  };

  return {
    rows,
    capacity,
    layers,
    rowBytes,
    reserve(row, count) {
      const state = rowOf(row);
      const shift = state.reserve(count);
      if (shift > 0) move('local', row, row, shift, state.localLength);
    },
    copyRow(from, to, length) {
      const target = rowOf(to);
      target.copyFrom(rowOf(from), length);
      if (from === to) return;
      move('global', from, to, 0, length);
      move('local', from, to, 0, target.localLength);
    },
    swapRows(a, b) {
      const [first, second] = [rowOf(a), rowOf(b)];
      if (a === b) return;
      exchange('global', a, b, { a: first.length, b: second.length });
      exchange('local', a, b, { a: first.localLength, b: second.localLength });
      rows[a] = second;
      rows[b] = first;
    },
    free() {
      for (const pair of layers) for (const memory of pair) memory.free();
    },
  };
}
