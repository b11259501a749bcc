import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AddedTokenMatcher, createAddedTokenMatcher } from '../../src/prompt/added-tokens.ts';

const encoder = new TextEncoder();

function matcherOf(spellings: readonly string[]): AddedTokenMatcher {
  const offsets = new Int32Array(spellings.length + 1);
  for (const [id, spelling] of spellings.entries()) {
    offsets[id + 1] = (offsets[id] ?? 0) + encoder.encode(spelling).length;
  }
  return createAddedTokenMatcher(
    [...spellings.keys()],
    encoder.encode(spellings.join('')),
    offsets,
  );
}

describe('the added token matcher', () => {
  test('takes the longest token that starts at the place', () => {
    const unit = fc.constantFrom('\n', '<', 'b', '>', '▁');
    const spelling = fc.string({ unit, minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(
        fc.uniqueArray(spelling, { maxLength: 20 }),
        fc.string({ unit, minLength: 1, maxLength: 8 }),
        (spellings, text) => {
          const bytes = encoder.encode(text);
          const expected = spellings
            .filter((token) => text.startsWith(token))
            .toSorted((a, b) => b.length - a.length)[0];
          const found = matcherOf(spellings).match(bytes, 0, bytes.length);
          expect(spellings[found]).toBe(expected);
        },
      ),
      { seed: 51, numRuns: 2000 },
    );
  });

  test('does not look past the end', () => {
    const bytes = encoder.encode('\n\n\n');
    const matcher = matcherOf(['\n', '\n\n', '\n\n\n']);
    expect(matcher.match(bytes, 1, 2)).toBe(0);
    expect(matcher.match(bytes, 0, 3)).toBe(2);
  });
});
