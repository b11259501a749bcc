/** The smallest magnitude that rounds to infinity: half a step above the largest bfloat16. */
const TOO_LARGE = (2 - 2 ** -8) * 2 ** 127;

/** Whether there is a finite bfloat16 for it. */
export function hasBfloat16(value: number): boolean {
  // False for NaN, too.
  return Math.abs(value) < TOO_LARGE;
}

/** A value that has no finite bfloat16, for messages. */
export function showOdd(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  return `${value.toPrecision(6)}, more than bfloat16 holds`;
}

/** The beginning of the group at `at`, for messages. */
export function showGroup(values: Float32Array, at: number): string {
  const shown = [...values.subarray(at, at + 4)];
  return `${shown.map((value) => value.toPrecision(6)).join(', ')}, ...`;
}
