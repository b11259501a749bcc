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
  readonly rows: readonly RowRing[];
  readonly capacity: Readonly<Record<LayerType, number>>;
  /** Buffers of a layer: keys, values. */
  readonly layers: readonly (readonly [NativeMemory, NativeMemory])[];
  /** Bytes of one row of one buffer of this layer. */
  rowBytes(layer: number): number;
  /** Makes room in `row` for `count` tokens, moving local entries down where needed. */
  reserve(row: number, count: number): void;
  copyRow(from: number, to: number, length: number): void;
  free(): void;
}

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
      if (from === to) return;
      const target = rowOf(to);
      target.copyFrom(rowOf(from), length);
      move('global', from, to, 0, length);
      move('local', from, to, 0, target.localLength);
    },
    free() {
      for (const pair of layers) for (const memory of pair) memory.free();
    },
  };
}
