import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createMergeTable } from '../../src/prompt/merge-table.ts';

describe('the merge table', () => {
  test('ranks listed pairs by their first place and no others', () => {
    const id = fc.nat(12);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(id, id), { maxLength: 80 }),
        fc.tuple(id, id),
        (pairs, other) => {
          const table = createMergeTable(Int32Array.from(pairs.flat()));
          for (const [left, right] of [...pairs, other]) {
            expect(table.rank(left, right)).toBe(
              pairs.findIndex(([l, r]) => l === left && r === right),
            );
          }
        },
      ),
      { seed: 41, numRuns: 500 },
    );
  });
});
