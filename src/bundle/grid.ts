/**
 * Quantisation-aware training rounds the embedding table to an int4 grid in groups of 32 inputs, and
 * checkpoints store what lies on the grid as bfloat16. This finds the grid again.
 */
export const GRID_GROUP = 32;

/** Magnitudes of the grid: values are -8..7 times the scale. */
export const GRID_LOWEST = -8;
export const GRID_HIGHEST = 7;
/** Mantissa bits of bfloat16, and one: storing moved a value by at most half of its last bit. */
const HALF_STEP_BITS = 8;

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/**
 * @param group [32] values as bfloat16 stores them
 * @param nibbles [16] filled with value + 8, low nibble first
 * @returns the fp32 scale for which every value * scale rounds to the stored bfloat16; null when the
 *   group is on no such grid
 */
export function recoverGroup(group: Float32Array, nibbles: Uint8Array): number | null {
  let largest = 0;
  for (let i = 0; i < group.length; i++) {
    const value = group[i] as number;
    if (Math.abs(value) > Math.abs(largest)) largest = value;
  }
  if (largest === 0) {
    nibbles.fill(0x88);
    return 0;
  }
  readBounds(group);
  // Few steps to the largest value mean a coarse grid: of several that fit, the coarsest.
  const most = largest < 0 ? -GRID_LOWEST : GRID_HIGHEST;
  for (let steps = 1; steps <= most; steps++) {
    const scale = scaleFor(group, Math.abs(largest) / steps);
    if (scale !== null && fill(group, scale, nibbles)) return scale;
  }
  return null;
}

/** The least and the most that a stored value may have been before bfloat16 rounded it, of one group. */
const lowest = new Float64Array(GRID_GROUP);
const highest = new Float64Array(GRID_GROUP);

/** The largest power of two that is not above a value, by the exponent bits of its fp32. */
const POWERS = Float64Array.from({ length: 255 }, (_, bits) => 2 ** (bits - 127));

function readBounds(group: Float32Array): void {
  for (let i = 0; i < GRID_GROUP; i++) {
    const magnitude = Math.abs(group[i] as number);
    float[0] = magnitude;
    const exponent = (word[0] as number) >>> 23;
    // Subnormal values keep their exponent elsewhere.
    const power =
      exponent === 0 ? 2 ** Math.floor(Math.log2(magnitude)) : (POWERS[exponent] as number);
    const half = power * 2 ** -HALF_STEP_BITS;
    // Below a power of two the steps of bfloat16 are half as wide.
    lowest[i] = magnitude - (magnitude === power ? half / 2 : half);
    highest[i] = magnitude + half;
  }
}

/** A scale near `guess` that all values agree on, if there is one. */
function scaleFor(group: Float32Array, guess: number): number | null {
  let low = 0;
  let high = Infinity;
  for (let i = 0; i < GRID_GROUP; i++) {
    const value = group[i] as number;
    if (value === 0) continue;
    const step = Math.round(value / guess);
    if (step === 0 || step < GRID_LOWEST || step > GRID_HIGHEST) return null;
    const steps = Math.abs(step);
    low = Math.max(low, (lowest[i] as number) / steps);
    high = Math.min(high, (highest[i] as number) / steps);
    if (low > high) return null;
  }
  return simplestBetween(low, high);
}

/** Of the scales that fit, the one with the shortest mantissa: likely what it was. */
function simplestBetween(low: number, high: number): number {
  const middle = (low + high) / 2;
  let step = 2 ** Math.floor(Math.log2(middle));
  for (let bits = 0; bits < 23; bits++, step /= 2) {
    const candidate = Math.round(middle / step) * step;
    if (candidate > low && candidate < high) return candidate;
  }
  return Math.fround(middle);
}

function fill(group: Float32Array, scale: number, nibbles: Uint8Array): boolean {
  for (let i = 0; i < group.length; i++) {
    const value = group[i] ?? 0;
    const step = Math.round(value / scale);
    if (step < GRID_LOWEST || step > GRID_HIGHEST) return false;
    if (roundToBfloat16(Math.fround(step * scale)) !== value) return false;
    const nibble = step - GRID_LOWEST;
    if (i % 2 === 0) nibbles[i >> 1] = nibble;
    else nibbles[i >> 1] = (nibbles[i >> 1] ?? 0) | (nibble << 4);
  }
  return true;
}

/** To the nearest bfloat16, ties to even; for finite values. */
export function roundToBfloat16(value: number): number {
  float[0] = value;
  const bits = word[0] ?? 0;
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff_0000;
  return float[0];
}
