import { describe, expect, it } from 'vitest';
import { DEFAULT_IMAGE_LIMITS, readImageHeader } from '../../src/image/sniff.ts';
import { GOLDEN_IMAGES, readImageFile } from '../support/golden-images.ts';
import { forSeeds } from '../support/seeded-random.ts';
import { thrownBy } from '../support/thrown-by.ts';
import { ServeError } from '../../src/errors.ts';

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text.padEnd(80, '\0'), (character) => character.charCodeAt(0));
}

/** Finds a JPEG's frame header and overwrites its height and width. */
function withJpegSize(name: string, width: number, height: number): Uint8Array {
  const bytes = readImageFile(name);
  const at = bytes.findIndex(
    (value, i) => value === 0xff && (bytes[i + 1] === 0xc0 || bytes[i + 1] === 0xc2),
  );
  bytes.set([height >> 8, height & 255, width >> 8, width & 255], at + 5);
  return bytes;
}

const orientationOf = (name: string): number => {
  const header = readImageHeader(readImageFile(name));
  return 'orientation' in header ? header.orientation : 0;
};

const count = (name: string): unknown => {
  const header = readImageHeader(readImageFile(name));
  return header.format === 'jpeg' ? header.componentCount : null;
};

describe('readImageHeader', () => {
  for (const [name, golden] of Object.entries(GOLDEN_IMAGES)) {
    it(`reads format and stored size of ${name} without decoding`, () => {
      const header = readImageHeader(readImageFile(name));
      expect([header.width, header.height]).toEqual(golden.stored);
      const ending = name.slice(name.lastIndexOf('.') + 1);
      expect(header.format).toBe(ending === 'jpg' ? 'jpeg' : ending);
    });
  }

  it('reads the EXIF orientation in either byte order, in JPEG, PNG and WebP', () => {
    for (let value = 1; value <= 8; value += 1) {
      expect(orientationOf(`orientation-${value}.jpg`)).toBe(value);
    }
    expect(orientationOf('oriented.png')).toBe(8);
    expect(orientationOf('oriented.webp')).toBe(6);
    expect(orientationOf('baseline.jpg')).toBe(1);
  });

  it('counts the components of a JPEG', () => {
    expect(['gray.jpg', 'baseline.jpg', 'cmyk.jpg'].map(count)).toEqual([1, 3, 4]);
  });

  const foreign: readonly (readonly [start: string, name: string, instead: string])[] = [
    ['\0\0\0\x1cftypavif', 'AVIF', 'convert it to JPEG'],
    ['\0\0\0\x1cftypavis', 'AVIF', 'convert it to JPEG'],
    ['\0\0\0\x18ftypheic', 'HEIC', 'convert it to JPEG'],
    ['\0\0\0\x18ftypmif1', 'HEIC', 'convert it to JPEG'],
    ['\0\0\0\x18ftypisom', 'MP4', 'single frames'],
    ['\x1aE\xdf\xa3', 'WebM', 'single frames'],
    ['RIFF\0\0\0\0AVI ', 'AVI', 'single frames'],
    ['BM\0\0', 'BMP', 'convert it'],
    ['II*\0', 'TIFF', 'convert it'],
    ['MM\0*', 'TIFF', 'convert it'],
    ['\0\0\x01\0', 'ICO', 'convert it'],
    ['\xff\x0a', 'JPEG XL', 'convert it'],
    ['\0\0\0\x0cjP  ', 'JPEG 2000', 'convert it'],
    ['8BPS', 'Photoshop', 'convert it'],
    ['%PDF-1.7', 'PDF', 'pages'],
    ['PK\x03\x04', 'ZIP', 'image file itself'],
    ['\x1f\x8b', 'gzip', 'image file itself'],
    ['<svg xmlns=', 'SVG', 'PNG'],
    ['\xef\xbb\xbf<?xml version="1.0"?><svg>', 'SVG', 'PNG'],
    ['\n <!DOCTYPE html>', 'web page', 'image file itself'],
    ['{"error":', 'JSON', 'image file itself'],
    ['data:image/png;base64,', 'data URI', 'image_url'],
    ['what is this', 'unknown', 'Send JPEG'],
  ];
  for (const [start, name, instead] of foreign) {
    it(`refuses ${name} (${JSON.stringify(start.slice(0, 14))}) by name and says what to send`, () => {
      const error = thrownBy(() => readImageHeader(bytesOf(start)));
      expect(error.code).toBe('invalid_image');
      expect(error.message).toContain(name);
      expect(error.message).toContain(instead);
    });
  }

  it('refuses an empty file', () => {
    expect(thrownBy(() => readImageHeader(new Uint8Array())).message).toContain('empty');
  });

  it('refuses files that are too large, from their length alone', () => {
    const error = thrownBy(() => readImageHeader(new Uint8Array(20_000_001)));
    expect(error.code).toBe('image_too_large');
    expect(error.message).toContain('20 MB');
  });

  it('refuses pictures that are too large, naming their size', () => {
    const limits = { ...DEFAULT_IMAGE_LIMITS, maxPixels: 45 * 31 - 1 };
    const error = thrownBy(() => readImageHeader(readImageFile('rgb.png'), limits));
    expect(error.code).toBe('image_too_large');
    expect(error.message).toContain('45x31');
    readImageHeader(readImageFile('rgb.png'), { ...limits, maxPixels: 45 * 31 });
    const narrow = { ...DEFAULT_IMAGE_LIMITS, maxSide: 44 };
    expect(thrownBy(() => readImageHeader(readImageFile('rgb.png'), narrow)).code).toBe(
      'image_too_large',
    );
  });

  it('refuses a PNG of 2 gigapixels in a few bytes', () => {
    const bytes = readImageFile('rgb.png');
    bytes.set([0, 0, 0x80, 0, 0, 1, 0, 0], 16);
    expect(thrownBy(() => readImageHeader(bytes)).code).toBe('image_too_large');
  });

  it('refuses a JPEG that claims far more pixels than its data can hold', () => {
    for (const name of ['baseline.jpg', 'progressive.jpg', 'cmyk.jpg', 'gray.jpg']) {
      const error = thrownBy(() => readImageHeader(withJpegSize(name, 6000, 6000)));
      expect(error.code).toBe('invalid_image');
      expect(error.message).toContain('6000x6000');
    }
  });

  it('refuses a picture of no width or height', () => {
    expect(thrownBy(() => readImageHeader(withJpegSize('baseline.jpg', 45, 0))).code).toBe(
      'invalid_image',
    );
  });

  it('refuses a JPEG of very many passes, each of which costs the whole picture', () => {
    const bytes = Buffer.from(readImageFile('progressive.jpg'));
    const scan = bytes.lastIndexOf(Buffer.from([0xff, 0xda]));
    const again = bytes.subarray(scan, -2);
    const many = Buffer.concat([
      bytes.subarray(0, -2),
      ...Array(100).fill(again),
      bytes.subarray(-2),
    ]);
    expect(thrownBy(() => readImageHeader(new Uint8Array(many))).message).toContain('scans');
  });

  it('refuses JPEG kinds that no decoder here reads, by name', () => {
    for (const [marker, name] of [
      [0xc3, 'lossless'],
      [0xc9, 'arithmetic'],
      [0xc5, 'hierarchical'],
    ] as const) {
      const bytes = readImageFile('baseline.jpg');
      const at = bytes.findIndex((value, i) => value === 0xff && bytes[i + 1] === 0xc0);
      bytes[at + 1] = marker;
      expect(thrownBy(() => readImageHeader(bytes)).message).toContain(name);
    }
  });

  it('refuses every file that is cut off anywhere, and never reads beyond it', () => {
    for (const name of Object.keys(GOLDEN_IMAGES)) {
      // A GIF is only read up to its first frame; the decoder notices the rest.
      if (name.endsWith('.gif')) continue;
      const bytes = readImageFile(name);
      for (let length = 12; length < bytes.length; length += 7) {
        const error = thrownBy(() => readImageHeader(bytes.subarray(0, length)));
        expect(error.code, `${name} at ${length}`).toBe('invalid_image');
      }
    }
  });

  it('answers damaged files with a header or a ServeError, nothing else', async () => {
    const names = Object.keys(GOLDEN_IMAGES);
    await forSeeds(1500, (random) => {
      const bytes = readImageFile(random.pick(names));
      for (let flips = random.integer(1, 6); flips > 0; flips -= 1) {
        bytes[random.integer(0, Math.min(bytes.length - 1, 200))] = random.integer(0, 255);
      }
      try {
        readImageHeader(bytes);
      } catch (error) {
        if (!ServeError.is(error)) throw error;
      }
    });
  });
});
