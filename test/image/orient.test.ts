import { describe, expect, it } from 'vitest';
import type { RgbImage } from '../../src/image/decode.ts';
import { applyOrientation } from '../../src/image/orient.ts';

/** 2 wide, 3 high; each pixel is its own number. */
const image: RgbImage = {
  width: 2,
  height: 3,
  data: Uint8Array.from([0, 1, 2, 3, 4, 5].flatMap((value) => [value, value + 10, value + 20])),
};

/** Rows of pixel numbers that PIL's exif_transpose gives for [[0, 1], [2, 3], [4, 5]]. */
const UPRIGHT = {
  1: [
    [0, 1],
    [2, 3],
    [4, 5],
  ],
  2: [
    [1, 0],
    [3, 2],
    [5, 4],
  ],
  3: [
    [5, 4],
    [3, 2],
    [1, 0],
  ],
  4: [
    [4, 5],
    [2, 3],
    [0, 1],
  ],
  5: [
    [0, 2, 4],
    [1, 3, 5],
  ],
  6: [
    [4, 2, 0],
    [5, 3, 1],
  ],
  7: [
    [5, 3, 1],
    [4, 2, 0],
  ],
  8: [
    [1, 3, 5],
    [0, 2, 4],
  ],
} as const;

describe('applyOrientation', () => {
  for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8] as const) {
    it(`turns orientation ${orientation} upright`, () => {
      const upright = applyOrientation(image, orientation);
      const rows = UPRIGHT[orientation];
      expect([upright.width, upright.height]).toEqual([rows[0].length, rows.length]);
      expect([...upright.data]).toEqual(
        rows.flat().flatMap((value) => [value, value + 10, value + 20]),
      );
    });
  }
});
