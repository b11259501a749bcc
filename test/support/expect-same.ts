import { expect } from 'vitest';
import { sameBits } from '../../src/lib/float-bits.ts';
import type { ModelValues } from './flax-tree.ts';

/** Fails naming the tensors that differ; the matchers take seconds for millions of numbers. */
export function expectSame(values: ModelValues, expected: ModelValues): void {
  const differing = [...expected].filter(
    ([name, floats]) =>
      !sameBits(unsigned(values.get(name) ?? new Float32Array(0)), unsigned(floats)),
  );
  expect(differing.map(([name]) => name)).toEqual([]);
}

/** A weight of 0 may have lost a sign that meant nothing. */
function unsigned(floats: Float32Array): Float32Array {
  return floats.map((value) => value + 0);
}
