import { describe, expect, it } from 'vitest';
import { parseImageConfig } from '../../src/image/image-config.ts';
import type { VisionConfig } from '../../src/model/config.ts';

const vision = { imageSize: 896 } as VisionConfig;
/** As published with google/gemma-3-27b-it. */
const published = {
  do_convert_rgb: null,
  do_normalize: true,
  do_pan_and_scan: null,
  do_rescale: true,
  do_resize: true,
  image_mean: [0.5, 0.5, 0.5],
  image_processor_type: 'Gemma3ImageProcessor',
  image_seq_length: 256,
  image_std: [0.5, 0.5, 0.5],
  pan_and_scan_max_num_crops: null,
  pan_and_scan_min_crop_size: null,
  pan_and_scan_min_ratio_to_activate: null,
  processor_class: 'Gemma3Processor',
  resample: 2,
  rescale_factor: 0.00392156862745098,
  size: { height: 896, width: 896 },
};

describe('parseImageConfig', () => {
  it('reads the published file, filling nulls with the reference defaults', () => {
    expect(parseImageConfig(published, vision)).toEqual({
      imageSize: 896,
      rescaleFactor: 1 / 255,
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.5, 0.5],
      panAndScan: { always: false, minCropSize: 256, maxCrops: 4, minRatio: 1.2 },
    });
  });

  it('takes what the file sets over the defaults', () => {
    const config = parseImageConfig(
      {
        ...published,
        image_mean: [0.4, 0.5, 0.6],
        do_pan_and_scan: true,
        pan_and_scan_max_num_crops: 2,
        pan_and_scan_min_crop_size: 100,
        pan_and_scan_min_ratio_to_activate: 1.5,
      },
      vision,
    );
    expect(config.mean).toEqual([0.4, 0.5, 0.6]);
    expect(config.panAndScan).toEqual({
      always: true,
      minCropSize: 100,
      maxCrops: 2,
      minRatio: 1.5,
    });
  });

  it('is content with an empty file', () => {
    expect(parseImageConfig({}, vision).imageSize).toBe(896);
  });

  const refused: readonly (readonly [object: unknown, code: string, word: string])[] = [
    [{ ...published, resample: 3 }, 'unsupported_model', '"resample": 3'],
    [{ ...published, do_normalize: false }, 'unsupported_model', 'do_normalize'],
    [{ ...published, do_resize: false }, 'unsupported_model', 'do_resize'],
    [{ ...published, size: { height: 896, width: 448 } }, 'unsupported_model', '448x896'],
    [{ ...published, size: { height: 224, width: 224 } }, 'invalid_checkpoint', '224'],
    [{ ...published, size: 896 }, 'invalid_checkpoint', '"size"'],
    [{ ...published, image_mean: [0.5] }, 'invalid_checkpoint', 'image_mean'],
    [{ ...published, image_std: [0.5, 0, 0.5] }, 'invalid_checkpoint', 'image_std'],
    [{ ...published, rescale_factor: '1' }, 'invalid_checkpoint', 'rescale_factor'],
    [{ ...published, do_pan_and_scan: 'no' }, 'invalid_checkpoint', 'do_pan_and_scan'],
    [null, 'invalid_checkpoint', 'object'],
  ];
  for (const [json, code, word] of refused) {
    it(`refuses ${word} by name`, () => {
      expect(() => parseImageConfig(json, vision)).toThrowError(
        expect.objectContaining({ code, message: expect.stringContaining(word) }),
      );
    });
  }
});
