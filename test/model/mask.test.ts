import { describe, expect, it } from 'vitest';
import { allow, fillLocalImageBias, imageGroups, MASKED_BIAS } from '../../src/model/mask.ts';

const IMAGE = 9;

describe('imageGroups', () => {
  it('numbers each run of image tokens and marks text with -1', () => {
    const tokens = Int32Array.of(1, 9, 9, 2, 9, 9, 9);
    expect([...imageGroups(tokens, IMAGE)]).toEqual([-1, 0, 0, -1, 1, 1, 1]);
    expect([...imageGroups(new Int32Array(0), IMAGE)]).toEqual([]);
  });
});

describe('allow', () => {
  const groups = imageGroups(Int32Array.of(1, 9, 9, 2, 9, 9, 1), IMAGE);
  const row = (i: number, window: number | null): string =>
    Array.from(groups, (_, j) => (allow(i, j, groups, window) ? 'x' : '.')).join('');

  it('lets text look back only', () => {
    expect(row(0, null)).toBe('x......');
    expect(row(3, null)).toBe('xxxx...');
    expect(row(6, null)).toBe('xxxxxxx');
  });

  it('lets image tokens see the rest of their own image and no other', () => {
    expect(row(1, null)).toBe('xxx....');
    expect(row(4, null)).toBe('xxxxxx.');
  });

  it('shows a local layer exactly the window, the token itself included', () => {
    expect(row(6, 3)).toBe('....xxx');
    expect(row(6, 1)).toBe('......x');
    expect(row(4, 2)).toBe('...xxx.');
  });
});

describe('fillLocalImageBias', () => {
  it.each([
    [0, 4, 8],
    [3, 4, 8],
    [4, 4, 8],
    [5, 4, 8],
    [20, 4, 8],
    [7, 4, 3],
    [6, 1, 2],
  ])(
    'agrees with the rule for %i cached tokens, a run of %i and a window of %i',
    (past, count, window) => {
      const tokens = new Int32Array(past + count).fill(1).fill(IMAGE, past);
      const groups = imageGroups(tokens, IMAGE);
      const bias = new Float32Array(count * (past + count)).fill(Number.NaN);
      fillLocalImageBias(bias, past, count, window);
      const expected = Array.from(bias, (_, at) => {
        const i = past + Math.floor(at / (past + count));
        return allow(i, at % (past + count), groups, window) ? 0 : MASKED_BIAS;
      });
      // Compared in fp32, as the kernel adds it.
      expect([...bias]).toEqual([...Float32Array.from(expected)]);
    },
  );

  it('refuses an output of another size', () => {
    expect(() => fillLocalImageBias(new Float32Array(5), 2, 2, 4)).toThrow(RangeError);
  });
});
