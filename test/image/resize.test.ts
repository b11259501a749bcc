import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { RgbImage } from '../../src/image/decode.ts';
import { resizeBilinear } from '../../src/image/resize.ts';
import { patternBytes, readGoldenJson } from '../support/golden-images.ts';

interface Fixture {
  readonly in: readonly [number, number];
  readonly out: readonly [number, number];
  readonly sum: number;
  readonly first_row: readonly number[];
  readonly last_px: readonly number[];
  readonly pixels: readonly number[] | null;
}

const { cases: FIXTURES } = readGoldenJson('pil-bilinear.json') as { cases: Fixture[] };
const { cases: SHAPES } = readGoldenJson('resized.json') as {
  cases: { in: [number, number]; out: [number, number]; sha256: string }[];
};

function pattern(width: number, height: number): RgbImage {
  return { width, height, data: patternBytes(width * height * 3) };
}

describe('resizeBilinear', () => {
  for (const fixture of FIXTURES) {
    const [width, height] = fixture.in;
    const [outWidth, outHeight] = fixture.out;
    it(`equals Pillow from ${width}x${height} to ${outWidth}x${outHeight}, bit for bit`, () => {
      const pixels = resizeBilinear(pattern(width, height), outWidth, outHeight);
      expect(pixels.length).toBe(outWidth * outHeight * 3);
      expect([...pixels.subarray(0, fixture.first_row.length)]).toEqual(fixture.first_row);
      expect([...pixels.subarray(-3)]).toEqual(fixture.last_px);
      expect(pixels.reduce((sum, value) => sum + value, 0)).toBe(fixture.sum);
      if (fixture.pixels !== null) expect([...pixels]).toEqual(fixture.pixels);
    });
  }

  for (const shape of SHAPES) {
    it(`equals Pillow on the odd shape ${shape.in.join('x')} to ${shape.out.join('x')}`, () => {
      const pixels = resizeBilinear(pattern(...shape.in), ...shape.out);
      expect(createHash('sha256').update(pixels).digest('hex')).toBe(shape.sha256);
    });
  }

  it('resizes a crop as if it had been cut out first', () => {
    const image = pattern(50, 40);
    const crop = { x: 7, y: 11, width: 30, height: 17 };
    const cut = new Uint8Array(crop.width * crop.height * 3);
    for (let y = 0; y < crop.height; y += 1) {
      const from = ((crop.y + y) * image.width + crop.x) * 3;
      cut.set(image.data.subarray(from, from + crop.width * 3), y * crop.width * 3);
    }
    expect(resizeBilinear(image, 23, 29, crop)).toEqual(
      resizeBilinear({ width: crop.width, height: crop.height, data: cut }, 23, 29),
    );
  });

  it('keeps white white, although rounded weights can sum to more than one', () => {
    const image = { width: 91, height: 77, data: new Uint8Array(91 * 77 * 3).fill(255) };
    expect(resizeBilinear(image, 224, 13).every((value) => value === 255)).toBe(true);
  });
});
