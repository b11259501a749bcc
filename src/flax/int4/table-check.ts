import { GRID_GROUP, recoverGroup } from '../../bundle/grid.ts';
import type { FloatDtype } from '../../weights/dtype.ts';
import { damaged } from '../byte-cursor.ts';
import { showGroup } from './odd-values.ts';
import { recoverFloatGroup } from './recover-grid.ts';

/**
 * Takes a table piece by piece; pieces are whole groups.
 * @throws ServeError invalid_checkpoint where a group is off a grid that the table lies on
 */
export type TableCheck = (piece: Float32Array) => void;

/**
 * Looks whether an embedding table lies on an int4 grid. Values carry no checksum, so a group beside the
 * grid of all others is how damage shows. A checkpoint's linears may be rounded and its table not: the
 * first piece decides, by most of its groups.
 * @param columns values of a row
 * @param where the array, for messages
 * @returns null for a table that cannot be looked at
 */
export function createTableCheck(
  columns: number,
  dtype: FloatDtype,
  where: string,
): TableCheck | null {
  if (columns % GRID_GROUP !== 0 || dtype === 'F16') return null;
  const nibbles = new Uint8Array(GRID_GROUP);
  let isOnGrid: boolean | null = null;
  let done = 0;

  function fits(piece: Float32Array, at: number): boolean {
    if (dtype === 'F32') return recoverFloatGroup(piece, at, nibbles, 0) >= 0;
    // Rounded to bfloat16 once more, so that it is no multiple of a scale any more.
    return recoverGroup(piece.subarray(at, at + GRID_GROUP), nibbles) !== null;
  }

  function refuse(piece: Float32Array, at: number): never {
    const input = (done + at) % columns;
    throw damaged(
      where,
      `row ${(done + at - input) / columns} from input ${input} on (${showGroup(piece, at)}) lies on no grid of 4 bits, unlike the rest of the table`,
    );
  }

  return (piece) => {
    if (isOnGrid !== false) {
      let firstOff = -1;
      let off = 0;
      for (let at = 0; at < piece.length; at += GRID_GROUP) {
        if (fits(piece, at)) continue;
        if (isOnGrid === true) refuse(piece, at);
        if (firstOff < 0) firstOff = at;
        off++;
      }
      isOnGrid ??= off < piece.length / GRID_GROUP / 2;
      if (isOnGrid && firstOff >= 0) refuse(piece, firstOff);
    }
    done += piece.length;
  };
}
