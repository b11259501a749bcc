import { GRID_GROUP, GRID_HIGHEST, GRID_LOWEST, roundToBfloat16 } from '../../bundle/grid.ts';
import { hasBfloat16 } from './odd-values.ts';

/**
 * Google's int4 checkpoint in Flax holds fp32 values that lie on an int4 grid, without its scales.
 * Finds the grid of one group again. Several may fit, as when all steps are even: the coarsest wins,
 * as in the conversion that published AWQ checkpoints come from, unless a finer one has a scale that
 * is a bfloat16 and so loses nothing in being stored as one.
 * @param values 32 of them from `at` on
 * @param nibbles gets value + 8 at `to` and the 31 that follow
 * @returns the scale, rounded to bfloat16; -1 where the values lie on no such grid, or have no finite bfloat16
 */
export function recoverFloatGroup(
  values: Float32Array,
  at: number,
  nibbles: Uint8Array,
  to: number,
): number {
  let largest = 0;
  let lowest = 0;
  for (let i = at; i < at + GRID_GROUP; i++) {
    const value = values[i] as number;
    if (value > largest) largest = value;
    else if (value < lowest) lowest = value;
    else if (Number.isNaN(value)) return -1;
  }
  const isNegative = -lowest > largest;
  const magnitude = isNegative ? -lowest : largest;
  if (magnitude === 0) {
    nibbles.fill(-GRID_LOWEST, to, to + GRID_GROUP);
    return 0;
  }
  if (!hasBfloat16(magnitude)) return -1;
  const most = isNegative ? -GRID_LOWEST : GRID_HIGHEST;
  let chosen = 0;
  let written = 0;
  for (let steps = 1; steps <= most; steps++) {
    // What fits a grid also fits one of so many times finer steps, and no other.
    if (chosen !== 0 && steps % chosen !== 0) continue;
    written = steps;
    if (!fits(values, at, steps, magnitude, nibbles, to)) continue;
    const isExact = isBfloat16(magnitude / steps);
    if (chosen === 0 || isExact) chosen = steps;
    if (isExact) break;
  }
  if (chosen === 0) return -1;
  if (written !== chosen) fits(values, at, chosen, magnitude, nibbles, to);
  return roundToBfloat16(magnitude / chosen);
}

/**
 * How far a value may lie from the grid, as a part of the group's largest. Training computed the grid in
 * fp32; 1e-6 was right for weights of some hundredths, and this is the same for all.
 */
const TOLERANCE = 2 ** -16;

/**
 * What no arithmetic in fp32 leaves of a zero, as a part of the group's largest: where a damaged value
 * dwarfs the others, they are that small, and would become zeros on the grid of that one.
 */
const DWARFED = 2 ** -30;

/** Added and taken away again, leaves the nearest whole number: several times faster than Math.round. */
const ROUNDING = 1.5 * 2 ** 52;

/** Writes steps as nibbles as far as they fit. */
function fits(
  values: Float32Array,
  at: number,
  steps: number,
  magnitude: number,
  nibbles: Uint8Array,
  to: number,
): boolean {
  const inverse = steps / magnitude;
  const tolerance = TOLERANCE * steps;
  const dwarfed = DWARFED * steps;
  for (let i = 0; i < GRID_GROUP; i++) {
    const position = (values[at + i] as number) * inverse;
    const step = position + ROUNDING - ROUNDING;
    // Written so that it refuses infinity, too.
    if (!(Math.abs(position - step) <= tolerance) || step > GRID_HIGHEST) return false;
    if (step === 0 && position !== 0 && Math.abs(position) < dwarfed) return false;
    nibbles[to + i] = step - GRID_LOWEST;
  }
  return true;
}

function isBfloat16(scale: number): boolean {
  return Math.abs(roundToBfloat16(scale) - scale) <= scale * TOLERANCE;
}
