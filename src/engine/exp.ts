/**
 * exp for softmax sums over a whole vocabulary, several times as fast as `Math.exp`:
 * 2^(k + j/2048) from tables, times a short polynomial for the rest.
 */

const STEPS = 2048;
const STEPS_LOG2 = 11;
/** Smallest argument whose result is a normal number is about -708.4. */
const LOWEST = -708;
/** Powers of two down to that of `LOWEST`. */
const POWER_COUNT = 1023;

/** [STEPS] 2^(j / STEPS) */
const fractions = Float64Array.from({ length: STEPS }, (_, j) => 2 ** (j / STEPS));
/** [POWER_COUNT] 2^-k */
const powers = Float64Array.from({ length: POWER_COUNT }, (_, k) => 2 ** -k);

const STEPS_PER_UNIT = STEPS / Math.LN2;
const UNIT = Math.LN2 / STEPS;
/** What `Math.LN2` lacks of ln 2; times a thousand it would show. */
const LN2_REST = 2.319046813846299e-17;
/** ln 2 / STEPS in two parts; multiples of the first are exact, so that no digits cancel. */
const UNIT_HIGH = Math.fround(UNIT);
const UNIT_LOW = UNIT - UNIT_HIGH + LN2_REST / STEPS;

/**
 * exp(x) for x <= 0 with a relative error below 1e-15; 0 below -708, at -Infinity and for NaN.
 */
export function expOfNegative(x: number): number {
  if (!(x >= LOWEST)) return 0;
  // Truncation is rounding up here; the rest r is in (-ln 2 / STEPS, 0].
  const steps = (x * STEPS_PER_UNIT) | 0;
  const r = x - steps * UNIT_HIGH - steps * UNIT_LOW;
  const fraction = fractions[steps & (STEPS - 1)] as number;
  const power = powers[-(steps >> STEPS_LOG2)] as number;
  return power * fraction * (1 + r * (1 + r * (0.5 + r * (1 / 6 + r / 24))));
}
