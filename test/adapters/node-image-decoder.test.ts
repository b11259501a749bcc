import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createNodeImageDecoder } from '../../adapters/node/image-decoder.ts';
import { ServeError } from '../../src/errors.ts';
import { GOLDEN_IMAGES, readImageFile } from '../support/golden-images.ts';
import { forSeeds } from '../support/seeded-random.ts';
import { rejectedBy } from '../support/thrown-by.ts';

const decoder = createNodeImageDecoder();

/** Largest difference of a byte to Pillow where another decoder is used; everything else is equal. */
const TOLERANCE: Readonly<Record<string, number>> = { 'cmyk.jpg': 1, 'ycck.jpg': 2 };

async function expectGolden(name: string): Promise<void> {
  const golden = GOLDEN_IMAGES[name];
  const image = await decoder.decode(readImageFile(name));
  expect([image.width, image.height]).toEqual([golden?.width, golden?.height]);
  const tolerance = TOLERANCE[name];
  if (tolerance === undefined) {
    expect([...image.data.subarray(0, 24)]).toEqual(golden?.first);
    expect(createHash('sha256').update(image.data).digest('hex')).toBe(golden?.sha256);
    return;
  }
  const wanted = Buffer.from(golden?.rgb ?? '', 'hex');
  expect(image.data).toHaveLength(wanted.length);
  const worst = image.data.reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (wanted[i] as number))),
    0,
  );
  expect(worst).toBeLessThanOrEqual(tolerance);
}

describe('the Node image decoder', () => {
  for (const name of Object.keys(GOLDEN_IMAGES)) {
    const bound = TOLERANCE[name];
    const how = bound === undefined ? 'bit for bit' : `within ${bound} per channel`;
    it(`decodes ${name} as Pillow does, ${how}`, () => expectGolden(name));
  }

  it('refuses every file of every format that is cut in half', async () => {
    for (const name of Object.keys(GOLDEN_IMAGES)) {
      const bytes = readImageFile(name);
      const error = await rejectedBy(decoder.decode(bytes.subarray(0, bytes.length >> 1)));
      expect(error.code, name).toBe('invalid_image');
    }
  });

  it('decodes the next picture after one that made the decoder abort', async () => {
    // Stands in the entropy-coded data or tables, past what the header check sees.
    for (const [name, offset] of [
      ['progressive.jpg', 537],
      ['lossless.webp', 479],
      ['gray.png', 499],
    ] as const) {
      const damaged = readImageFile(name);
      damaged[offset] = (damaged[offset] as number) ^ 0x5a;
      const error = await rejectedBy(decoder.decode(damaged));
      expect([error.code, error.cause === undefined], name).toEqual(['invalid_image', false]);
      await expectGolden(name);
    }
  });

  it('answers damaged files with a picture or invalid_image, and stays usable', async () => {
    const names = Object.keys(GOLDEN_IMAGES);
    await forSeeds(400, async (random) => {
      const bytes = readImageFile(random.pick(names));
      for (let flips = random.integer(1, 5); flips > 0; flips -= 1) {
        bytes[random.integer(12, bytes.length - 1)] = random.integer(0, 255);
      }
      try {
        await decoder.decode(bytes);
      } catch (error) {
        const isExpected =
          ServeError.is(error) && ['invalid_image', 'image_too_large'].includes(error.code);
        if (!isExpected) throw error;
      }
    });
    for (const name of ['baseline.jpg', 'lossy.webp', 'rgb.png', 'cmyk.jpg']) {
      await expectGolden(name);
    }
  });

  it('decodes many pictures at once, each format loading its decoder once', async () => {
    const fresh = createNodeImageDecoder();
    const names = ['baseline.jpg', 'gray.jpg', 'lossy.webp', 'rgba.png', 'cmyk.jpg'];
    const images = await Promise.all(
      [...names, ...names, ...names].map((name) => fresh.decode(readImageFile(name))),
    );
    expect(images).toHaveLength(15);
    expect(images[0]?.data).toEqual(images[5]?.data);
  });

  it('takes its limits from the options', async () => {
    const small = createNodeImageDecoder({
      limits: { maxBytes: 100, maxPixels: 1e6, maxSide: 1e4 },
    });
    expect((await rejectedBy(small.decode(readImageFile('rgb.png')))).code).toBe('image_too_large');
  });

  it('writes nothing to the console about damaged pictures', async () => {
    const written: unknown[] = [];
    const { error, log, warn } = console;
    console.error =
      console.log =
      console.warn =
        (...args: unknown[]): void => {
          written.push(args);
        };
    try {
      const bytes = readImageFile('baseline.jpg');
      for (let at = 700; at < 1100; at += 3) bytes[at] = 0x55;
      await decoder.decode(bytes).catch(() => undefined);
      await decoder.decode(readImageFile('plain.gif').fill(7, 200, 500)).catch(() => undefined);
    } finally {
      Object.assign(console, { error, log, warn });
    }
    expect(written).toEqual([]);
  });
});
