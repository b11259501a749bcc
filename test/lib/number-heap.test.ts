import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createNumberHeap } from '../../src/lib/number-heap.ts';

describe('a number heap', () => {
  test('gives back what was pushed in ascending order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), (values) => {
        const heap = createNumberHeap(1);
        for (const value of values) heap.push(value);
        const popped = values.map(() => heap.pop());
        expect(popped).toEqual(values.toSorted((a, b) => a - b));
      }),
      { seed: 5, numRuns: 500 },
    );
  });

  test('always pops the smallest when pushes and pops mix', () => {
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer())), (operations) => {
        const heap = createNumberHeap(1);
        let model: number[] = [];
        for (const value of operations) {
          if (value !== null) {
            heap.push(value);
            model.push(value);
          } else if (model.length > 0) {
            model = model.toSorted((a, b) => a - b);
            expect(heap.pop()).toBe(model.shift());
          }
          expect(heap.size).toBe(model.length);
        }
      }),
      { seed: 6, numRuns: 500 },
    );
  });

  test('is empty after clear and then pops NaN', () => {
    const heap = createNumberHeap();
    heap.push(3);
    heap.clear();
    expect(heap.size).toBe(0);
    expect(heap.pop()).toBeNaN();
  });
});
