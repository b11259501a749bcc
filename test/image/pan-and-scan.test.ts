import { describe, expect, it } from 'vitest';
import { panAndScan } from '../../src/image/pan-and-scan.ts';
import { readGoldenJson } from '../support/golden-images.ts';

const DEFAULTS = { minCropSize: 256, maxCrops: 4, minRatio: 1.2 };
const { crops } = readGoldenJson('pan-and-scan.json') as {
  crops: Record<string, [number, number, number, number][]>;
};

describe('panAndScan', () => {
  for (const [size, wanted] of Object.entries(crops)) {
    it(`cuts ${size} into the reference's ${wanted.length} crops`, () => {
      const [width, height] = size.split('x').map(Number) as [number, number];
      const found = panAndScan(width, height, DEFAULTS);
      expect(found.map((crop) => [crop.x, crop.y, crop.width, crop.height])).toEqual(wanted);
    });
  }

  it('covers a picture without gaps or overlaps, whatever its size', () => {
    for (let width = 300; width < 5000; width += 137) {
      for (let height = 300; height < 2000; height += 211) {
        const found = panAndScan(width, height, DEFAULTS);
        const area = found.reduce((sum, crop) => sum + crop.width * crop.height, 0);
        expect(area, `${width}x${height}`).toBe(found.length === 0 ? 0 : width * height);
      }
    }
  });

  it('never makes a crop of nothing when rounding up uses the picture up early', () => {
    const found = panAndScan(10, 1, { minCropSize: 1, maxCrops: 7, minRatio: 1.2 });
    expect(found.every((crop) => crop.width > 0)).toBe(true);
    expect(found.reduce((sum, crop) => sum + crop.width, 0)).toBe(10);
  });
});
