import { afterAll, describe, expect, it } from 'vitest';
import { createPicturePool } from '../../adapters/node/pictures/pool.ts';
import { createNodeImageDecoder } from '../../adapters/node/image-decoder.ts';
import { parseImageConfig } from '../../src/image/image-config.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import { DEFAULT_IMAGE_LIMITS, readImageHeader } from '../../src/image/sniff.ts';
import type { VisionConfig } from '../../src/model/config.ts';
import { readImageFile } from '../support/golden-images.ts';
import { chunkyPng, plainPng, progressiveJpeg, TINY_WEBP } from '../support/hostile-pictures.ts';

const CONFIG = parseImageConfig({}, { imageSize: 896 } as VisionConfig);
const LARGE = { ...DEFAULT_IMAGE_LIMITS, maxPixels: 40_000_000 };
const FORMATS = [
  'baseline.jpg',
  'progressive.jpg',
  'cmyk.jpg',
  'lossy.webp',
  'interlaced.png',
  'offset.gif',
];

const pool = createPicturePool({ threads: 1 });
const large = createPicturePool({ threads: 1, limits: LARGE });
afterAll(async () => {
  await pool.close();
  await large.close();
});

describe('pictures that cost far more than their bytes', () => {
  it.each<[string, () => Uint8Array, string]>([
    ['CMYK of 40 megapixels', () => progressiveJpeg(16_384, 2_441, 4, 10), 'megapixels'],
    ['CMYK in 100 scans', () => progressiveJpeg(2_000, 2_000, 4, 100), 'in 100 scans'],
    ['colour in 100 scans', () => progressiveJpeg(4_096, 4_096, 3, 100), 'in 100 scans'],
    ['gray in 100 scans', () => progressiveJpeg(4_096, 4_096, 1, 100), 'in 100 scans'],
    ['more than 100 scans', () => progressiveJpeg(64, 64, 1, 101), '100 scans'],
    ['1.6 million empty chunks', () => chunkyPng(1_600_000), '10000 chunks'],
    ['40 bytes of 40 megapixels', () => TINY_WEBP, '25'],
    ['40 megapixels of one colour', () => plainPng(16_384, 2_441), '25'],
  ])('are refused by their header: %s', (_what, make, words) => {
    const bytes = make().subarray(0, DEFAULT_IMAGE_LIMITS.maxBytes);
    expect(() => readImageHeader(bytes)).toThrow(words);
  });

  it('are not those that cameras and encoders make', () => {
    for (const make of [
      () => progressiveJpeg(6_000, 4_000, 3, 10),
      () => progressiveJpeg(2_000, 2_000, 4, 10),
      () => chunkyPng(5_000),
      () => plainPng(6_000, 4_000),
    ]) {
      expect(readImageHeader(make()).width).toBeGreaterThan(0);
    }
  });
});

describe('pictures in a thread of their own', () => {
  it.each(FORMATS)('are what they are on this one: %s', async (name) => {
    const file = readImageFile(name);
    const here = await prepareWith(createNodeImageDecoder())(file, CONFIG, true);
    expect(await pool.prepare(file, CONFIG, true)).toEqual(here);
    // The caller's bytes are still there.
    expect(file).toEqual(readImageFile(name));
  });

  it('leave this one free for all else', async () => {
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns++;
      if (!isOver) setImmediate(count);
    };
    const preparing = large.prepare(TINY_WEBP, CONFIG, false);
    setImmediate(count);
    const [image] = await preparing;
    isOver = true;
    expect(image?.rgb).toHaveLength(896 * 896 * 3);
    // It stood still for a second or more, and got one turn, while the decoder ran here.
    expect(turns).toBeGreaterThan(100);
  });

  it('are given up when they take too long, and the next one is not', async () => {
    const hasty = createPicturePool({ threads: 1, deadlineMs: 1, limits: LARGE });
    try {
      for (let turn = 0; turn < 2; turn++) {
        await expect(hasty.prepare(TINY_WEBP, CONFIG, false)).rejects.toMatchObject({
          code: 'invalid_image',
          message: expect.stringContaining('longer than 0.001 s'),
        });
      }
    } finally {
      await hasty.close();
    }
    expect(await pool.prepare(readImageFile('baseline.jpg'), CONFIG, false)).toHaveLength(1);
  });

  it('are given up when their request is', async () => {
    const controller = new AbortController();
    const preparing = large.prepare(TINY_WEBP, CONFIG, false, controller.signal);
    const waiting = large.prepare(TINY_WEBP, CONFIG, false, controller.signal);
    controller.abort(new Error('gone'));
    await expect(preparing).rejects.toThrow('gone');
    await expect(waiting).rejects.toThrow('gone');
    expect(await large.prepare(plainPng(100, 100), CONFIG, false)).toHaveLength(1);
  });

  it('say what is wrong with them', async () => {
    const damaged = readImageFile('baseline.jpg').slice(0, 900);
    await expect(pool.prepare(damaged, CONFIG, false)).rejects.toMatchObject({
      code: 'invalid_image',
      status: 400,
    });
  });

  it('are taken by nobody once the server closes', async () => {
    const closed = createPicturePool();
    await closed.close();
    const preparing = closed.prepare(readImageFile('baseline.jpg'), CONFIG, false);
    await expect(preparing).rejects.toMatchObject({ code: 'draining' });
  });
});
