import { describe, expect, it } from 'vitest';
import { commonPrefix, outsideImages } from '../../../src/engine/kv/content.ts';
import { place, type RowState } from '../../../src/engine/kv/rows.ts';

const row = (number: number, words: number[] | null, isRunning = false): RowState => ({
  row: number,
  isRunning,
  content:
    words === null ? null : { scope: 's', words: Int32Array.from(words), length: words.length },
  usedAt: number,
});

function placeOf(rows: RowState[], words: number[], pageTokens: number, images: number[] = []) {
  const content = Int32Array.from(words);
  return place({
    rows,
    scope: 's',
    words: content,
    limit: words.length - 2,
    cut: (length) => outsideImages(length, images, 4),
    canCut: () => true,
    pageTokens,
    shared: (state) =>
      state.content === null ? 0 : commonPrefix(state.content.words, content, words.length - 2),
  });
}

describe('placing a sequence', () => {
  it('goes on in the row that holds its start, and copies from one that runs', () => {
    const words = [1, 2, 3, 4, 5, 6];
    expect(placeOf([row(0, null), row(1, [1, 2, 3])], words, 0)).toMatchObject({
      row: 1,
      cachedTokens: 3,
      source: { type: 'row' },
    });
    expect(placeOf([row(0, null), row(1, [1, 2, 3], true)], words, 0)).toMatchObject({
      row: 0,
      source: { type: 'copy', from: 1 },
    });
    expect(placeOf([row(0, [9], true)], words, 0)).toBeNull();
  });

  it('keeps of its own tokens under pages what is the same, but no part of an image', () => {
    // Two images may share the first words of their hashes; their tokens see all of the image.
    const held = [1, 2, -7, -7, -7, -8, 5, 6, 6, 6];
    const words = [1, 2, -7, -7, -7, -9, 5, 6, 7, 8];
    expect(placeOf([row(0, held)], words, 8, [2])).toMatchObject({
      cachedTokens: 8,
      source: { type: 'pages', keep: 2 },
    });
    expect(placeOf([row(0, held)], held, 8, [2])).toMatchObject({ source: { type: 'row' } });
  });
});
