import { describe, expect, it } from 'vitest';
import { createImageDecoder, type ImageDecoder } from '../../src/image/decode.ts';
import { parseImageConfig } from '../../src/image/image-config.ts';
import {
  createImageLoader,
  type ImageLoaderOptions,
  type ImagePart,
  type LoadImage,
} from '../../src/image/load-image.ts';
import { prepareWith } from '../../src/image/prepare-picture.ts';
import { resizeBilinear } from '../../src/image/resize.ts';
import { DEFAULT_IMAGE_LIMITS } from '../../src/image/sniff.ts';
import type { VisionConfig } from '../../src/model/config.ts';
import type { ImageSource } from '../../src/prompt/messages.ts';
import { readImageFile } from '../support/golden-images.ts';
import { rejectedBy } from '../support/thrown-by.ts';

const config = parseImageConfig({ pan_and_scan_min_crop_size: 10 }, {
  imageSize: 28,
} as VisionConfig);
const noCodec = (): Promise<never> => Promise.reject(new Error('not needed here'));
const decoder = createImageDecoder({ jpeg: noCodec, webp: noCodec });
const file = readImageFile('rgb.png');
const param = 'messages[0].content[1].image_url';

function part(source: ImageSource, panAndScan = false): ImagePart {
  return { type: 'image', source, panAndScan, param };
}

function loader(options: Partial<ImageLoaderOptions> = {}): LoadImage {
  return createImageLoader({ prepare: prepareWith(decoder), config, fetchUrl: null, ...options });
}

function dataUri(bytes: Uint8Array): string {
  return `data:image/anything;base64,${Buffer.from(bytes).toString('base64')}`;
}

describe('createImageLoader', () => {
  it('prepares the same picture from bytes, a data URI and a URL', async () => {
    const fetched: unknown[] = [];
    const load = loader({
      fetchUrl: async (url, options) => {
        fetched.push([url, options?.param]);
        return file;
      },
    });
    const url = 'https://example.com/a.png';
    const sources: ImageSource[] = [
      { type: 'bytes', bytes: file },
      { type: 'url', url: dataUri(file) },
      { type: 'url', url },
    ];
    const wanted = resizeBilinear(await decoder.decode(file), 28, 28);
    for (const source of sources) {
      const prepared = await load(part(source));
      expect(prepared.map((image) => image.rgb)).toEqual([wanted]);
    }
    expect(fetched).toEqual([[url, param]]);
  });

  it('adds crops where the part or the checkpoint asks for them', async () => {
    const source: ImageSource = { type: 'bytes', bytes: file };
    expect(await loader()(part(source, true))).toHaveLength(3);
    const always = { ...config, panAndScan: { ...config.panAndScan, always: true } };
    expect(await loader({ config: always })(part(source))).toHaveLength(3);
  });

  it('names the request field in every error', async () => {
    const load = loader({ limits: { ...DEFAULT_IMAGE_LIMITS, maxBytes: 3000 } });
    const cases: readonly (readonly [ImageSource, string])[] = [
      [{ type: 'url', url: 'https://example.com/a.png' }, 'invalid_url'],
      [{ type: 'url', url: 'data:image/png;base64,@@@@' }, 'invalid_url'],
      [{ type: 'url', url: dataUri(new Uint8Array(4000)) }, 'image_too_large'],
      [{ type: 'url', url: dataUri(Buffer.from('hello')) }, 'invalid_image'],
      [{ type: 'bytes', bytes: file.subarray(0, 100) }, 'invalid_image'],
    ];
    for (const [source, code] of cases) {
      const error = await rejectedBy(load(part(source)));
      expect([error.code, error.param]).toEqual([code, param]);
    }
  });

  it('decodes no more pictures at once than allowed, and frees the place of a failed one', async () => {
    let running = 0;
    let most = 0;
    const releases: (() => void)[] = [];
    let decodes = 0;
    const slow: ImageDecoder = {
      async decode() {
        decodes += 1;
        const isFirst = decodes === 1;
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => releases.push(resolve));
        running -= 1;
        if (isFirst) throw new Error('first one fails');
        return { width: 1, height: 1, data: new Uint8Array(3) };
      },
    };
    const load = loader({ prepare: prepareWith(slow), maxDecodes: 2 });
    const loads = Array.from({ length: 6 }, () => load(part({ type: 'bytes', bytes: file })));
    const settled = Promise.allSettled(loads);
    for (let index = 0; index < loads.length; index += 1) {
      while (releases.length === 0) await new Promise((resolve) => setImmediate(resolve));
      releases.shift()?.();
    }
    const statuses = (await settled).map((result) => result.status);
    expect(most).toBe(2);
    expect(statuses).toEqual(['rejected', ...Array<string>(5).fill('fulfilled')]);
  });

  it('gives up waiting for a place when the signal aborts', async () => {
    const controller = new AbortController();
    const stuck: ImageDecoder = { decode: () => new Promise(() => {}) };
    const load = loader({ prepare: prepareWith(stuck), maxDecodes: 1 });
    void load(part({ type: 'bytes', bytes: file }));
    const second = load(part({ type: 'bytes', bytes: file }), controller.signal);
    controller.abort(new Error('gone'));
    await expect(second).rejects.toThrow('gone');
  });
});
