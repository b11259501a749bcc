import { describe, expect, it } from 'vitest';
import { createPromptLookup } from '../../src/engine/prompt-lookup.ts';

const never = (_position: number): boolean => false;
const propose = (words: readonly number[], most: number, isOpaque = never): number[] => [
  ...createPromptLookup(isOpaque).propose(Int32Array.from(words), words.length, most),
];

const isImage = (position: number): boolean => position >= 4 && position < 6;

describe('the prompt lookup', () => {
  it('proposes what followed the last three tokens before', () => {
    expect(propose([1, 2, 3, 7, 8, 9, 1, 2, 3], 2)).toEqual([7, 8]);
    expect(propose([1, 2, 3, 7, 8, 9, 1, 2, 3], 9)).toEqual([7, 8, 9, 1, 2, 3, 7, 8, 9]);
    expect(propose([1, 2, 3, 7, 8, 9, 1, 2, 3], 0)).toEqual([]);
  });

  it('proposes nothing where two agree but the third does not, or nothing came before', () => {
    expect(propose([0, 2, 3, 7, 1, 2, 3], 4)).toEqual([]);
    expect(propose([1, 2, 3], 4)).toEqual([]);
    expect(propose([1, 2], 4)).toEqual([]);
    expect(propose([], 4)).toEqual([]);
  });

  it('takes the latest occurrence, and goes on where it reaches the end', () => {
    expect(propose([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1)).toEqual([8]);
    expect(propose([5, 5, 5, 5], 4)).toEqual([5, 5, 5, 5]);
  });

  it('follows an answer as it grows, and looks at nothing beyond its length', () => {
    const lookup = createPromptLookup(never);
    const words = Int32Array.from([1, 2, 3, 4, 1, 2, 3, 99, 98, 97]);
    expect([...lookup.propose(words, 6, 3)]).toEqual([]);
    expect([...lookup.propose(words, 7, 3)]).toEqual([4, 1, 2]);
    words.set([4, 1, 2], 7);
    expect([...lookup.propose(words, 10, 3)]).toEqual([3, 4, 1]);
  });

  it('stops at an image', () => {
    expect(propose([1, 2, 3, 7, 50, 51, 1, 2, 3], 4, isImage)).toEqual([7]);
    expect(propose([1, 2, 3, 50, 51, 8, 1, 2, 3], 4, (at) => at === 3)).toEqual([]);
  });
});
