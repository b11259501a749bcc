import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { RgbImage } from '../../src/image/decode.ts';
import { parseImageConfig } from '../../src/image/image-config.ts';
import { preprocess, toPixels } from '../../src/image/preprocess.ts';
import { resizeBilinear } from '../../src/image/resize.ts';
import type { VisionConfig } from '../../src/model/config.ts';
import { patternBytes } from '../support/golden-images.ts';

const config = parseImageConfig({}, { imageSize: 56 } as VisionConfig);
const NUMPY_BITS = [
  3212836864, 3212705278, 3212573692, 3193756892, 3145760896, 998277376, 1065221630, 1065353216,
];
const NUMPY_SHA256 = 'd15e8ce72284446496a6de66e8a4795818530b44cd2c3dd415077364535c3c1a';
const wide: RgbImage = { width: 600, height: 300, data: patternBytes(600 * 300 * 3) };

describe('preprocess', () => {
  it('gives the whole picture, resized, with the SHA-256 of its bytes', async () => {
    const prepared = await preprocess(wide, config);
    expect(prepared).toHaveLength(1);
    expect(prepared[0]?.rgb).toEqual(resizeBilinear(wide, 56, 56));
    expect(prepared[0]?.sha256).toBe(
      createHash('sha256')
        .update(prepared[0]?.rgb ?? '')
        .digest('hex'),
    );
  });

  it('puts the crops of pan and scan after the whole picture', async () => {
    const prepared = await preprocess(wide, config, true);
    expect(prepared.map((image) => image.rgb)).toEqual([
      resizeBilinear(wide, 56, 56),
      resizeBilinear(wide, 56, 56, { x: 0, y: 0, width: 300, height: 300 }),
      resizeBilinear(wide, 56, 56, { x: 300, y: 0, width: 300, height: 300 }),
    ]);
  });

  it('stops between crops when the signal aborts', async () => {
    const controller = new AbortController();
    const pending = preprocess(wide, config, true, controller.signal);
    controller.abort(new Error('gone'));
    await expect(pending).rejects.toThrow('gone');
  });
});

describe('toPixels', () => {
  it('lays out planes per channel and image', () => {
    const rgb = patternBytes(56 * 56 * 3);
    const pixels = toPixels(
      [
        { rgb: new Uint8Array(56 * 56 * 3), sha256: '' },
        { rgb, sha256: '' },
      ],
      config,
    );
    expect(pixels).toHaveLength(2 * 3 * 56 * 56);
    for (const [channel, y, x] of [
      [0, 0, 0],
      [1, 3, 50],
      [2, 55, 55],
    ] as const) {
      const value = rgb[(y * 56 + x) * 3 + channel] as number;
      expect(pixels[(3 + channel) * 56 * 56 + y * 56 + x]).toBeCloseTo(value / 127.5 - 1, 6);
    }
  });

  it('rounds every byte as the reference does: float64 rescale, then float32 steps', () => {
    const rgb = new Uint8Array(56 * 56 * 3);
    for (let value = 0; value < 256; value += 1) rgb[value * 3] = value;
    const pixels = toPixels([{ rgb, sha256: '' }], config);
    // Made with numpy: ((u8.astype(f8) * (1/255)).astype(f4) - f4(.5)) / f4(.5), read as uint32.
    const bits = new Uint32Array(pixels.buffer, 0, 256);
    expect([
      bits[0],
      bits[1],
      bits[2],
      bits[100],
      bits[127],
      bits[128],
      bits[254],
      bits[255],
    ]).toEqual(NUMPY_BITS);
    expect(
      createHash('sha256')
        .update(new Uint8Array(pixels.buffer, 0, 1024))
        .digest('hex'),
    ).toBe(NUMPY_SHA256);
  });

  it('takes mean and std per channel', () => {
    const uneven = parseImageConfig({ image_mean: [0, 0.5, 1], image_std: [1, 0.5, 0.25] }, {
      imageSize: 56,
    } as VisionConfig);
    const pixels = toPixels([{ rgb: new Uint8Array(56 * 56 * 3).fill(255), sha256: '' }], uneven);
    expect([pixels[0], pixels[56 * 56], pixels[2 * 56 * 56]]).toEqual([1, 1, 0]);
  });

  it('refuses an image of another size', () => {
    expect(() => toPixels([{ rgb: new Uint8Array(3), sha256: '' }], config)).toThrow(RangeError);
  });
});
