import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createImageDecoder, type ImageCodec } from '../../src/image/decode.ts';
import { GOLDEN_IMAGES, readImageFile } from '../support/golden-images.ts';
import { rejectedBy } from '../support/thrown-by.ts';

function codecOf(width: number, height: number, byteCount = width * height * 4): ImageCodec {
  return async () => ({ width, height, data: new Uint8Array(byteCount).fill(9) });
}
const fails: ImageCodec = async () => {
  throw new Error('table 3 is broken');
};

const broken: ImageCodec = async () => {
  throw new ServeError('internal', 'no decoder');
};

describe('createImageDecoder', () => {
  it('decodes PNG and GIF without any codec', async () => {
    const decoder = createImageDecoder({ jpeg: fails, webp: fails });
    for (const name of ['rgb.png', 'plain.gif']) {
      const image = await decoder.decode(readImageFile(name));
      expect([...image.data.subarray(0, 24)]).toEqual(GOLDEN_IMAGES[name]?.first);
    }
  });

  it('refuses a codec result of another size than the header promised', async () => {
    for (const codec of [codecOf(44, 31), codecOf(45, 32), codecOf(45, 31, 10)]) {
      const decoder = createImageDecoder({ jpeg: codec, webp: codec });
      for (const name of ['baseline.jpg', 'lossy.webp']) {
        const error = await rejectedBy(decoder.decode(readImageFile(name)));
        expect(error.code).toBe('invalid_image');
      }
    }
  });

  it('takes a failing codec as a damaged picture and keeps the cause', async () => {
    const decoder = createImageDecoder({ jpeg: fails, webp: fails });
    const error = await rejectedBy(decoder.decode(readImageFile('baseline.jpg')));
    expect(error.code).toBe('invalid_image');
    expect(error.message).not.toContain('table 3');
    expect(String(error.cause)).toContain('table 3');
  });

  it('does not blame the picture when a decoder cannot start', async () => {
    const decoder = createImageDecoder({ jpeg: broken, webp: broken });
    const error = await rejectedBy(decoder.decode(readImageFile('lossy.webp')));
    expect(error.code).toBe('internal');
  });

  it('refuses CMYK by name where no codec for it exists', async () => {
    const decoder = createImageDecoder({ jpeg: codecOf(45, 31), webp: fails });
    const error = await rejectedBy(decoder.decode(readImageFile('cmyk.jpg')));
    expect(error.message).toContain('CMYK');
    expect(error.message).toContain('RGB JPEG');
  });

  it('never calls a codec for a picture over the limits', async () => {
    let calls = 0;
    const counting: ImageCodec = async () => {
      calls += 1;
      return { width: 45, height: 31, data: new Uint8Array(45 * 31 * 4) };
    };
    const limits = { maxBytes: 1e6, maxPixels: 1000, maxSide: 1000 };
    const decoder = createImageDecoder({ jpeg: counting, webp: counting, limits });
    for (const name of ['baseline.jpg', 'lossy.webp', 'rgb.png', 'plain.gif']) {
      expect((await rejectedBy(decoder.decode(readImageFile(name)))).code).toBe('image_too_large');
    }
    expect(calls).toBe(0);
  });

  it('rejects with the reason of the signal, before and while decoding', async () => {
    const gone = new Error('gone');
    const controller = new AbortController();
    const decoder = createImageDecoder({
      webp: fails,
      jpeg: async () => {
        controller.abort(gone);
        return { width: 45, height: 31, data: new Uint8Array(45 * 31 * 4) };
      },
    });
    const file = readImageFile('baseline.jpg');
    await expect(decoder.decode(file, AbortSignal.abort(gone))).rejects.toBe(gone);
    await expect(decoder.decode(file, controller.signal)).rejects.toBe(gone);
  });
});
