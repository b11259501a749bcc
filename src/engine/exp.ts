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

/** Steps of {@link roughExp} in one unit of the exponent. */
export const ROUGH_STEPS = 256;
/** Largest relative error of {@link roughExp}. */
export const ROUGH_ERROR = 4e-10;
/** Beyond this many steps the result is 0: e^-64, or 1.6e-28. */
const ROUGH_REACH = 64 * ROUGH_STEPS;

// A parabola through each step, as even over it as a Taylor series around its middle can be made.
const SLOPE = (1 + 1 / (32 * ROUGH_STEPS ** 2)) / ROUGH_STEPS;
const CURVE = 1 / (2 * ROUGH_STEPS ** 2);
const ROUGH_0 = 1 + SLOPE / 2 + CURVE / 4;
const ROUGH_1 = -(SLOPE + CURVE) / ROUGH_0;
const ROUGH_2 = CURVE / ROUGH_0;
/** [ROUGH_REACH] */
const roughValues = Float64Array.from(
  { length: ROUGH_REACH },
  (_, n) => expOfNegative(-(n + 0.5) / ROUGH_STEPS) * ROUGH_0,
);

/**
 * exp(-steps / ROUGH_STEPS) in a third of the time and less exactly; 0 from 64 units on and for NaN.
 * @param steps 0 or more
 */
export function roughExp(steps: number): number {
  if (!(steps < ROUGH_REACH)) return 0;
  const n = steps | 0;
  const r = steps - n;
  return (roughValues[n] as number) * (1 + r * (ROUGH_1 + r * ROUGH_2));
}
