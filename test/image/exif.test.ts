import { describe, expect, it } from 'vitest';
import { readOrientation } from '../../src/image/exif.ts';
import { forSeeds } from '../support/seeded-random.ts';

/** TIFF with one entry; big-endian unless said. */
function exif(type: number, value: number, options: { little?: boolean; prefix?: boolean } = {}) {
  const view = new DataView(new ArrayBuffer(26));
  const little = options.little === true;
  view.setUint16(0, little ? 0x4949 : 0x4d4d);
  view.setUint16(2, 42, little);
  view.setUint32(4, 8, little);
  view.setUint16(8, 1, little);
  view.setUint16(10, 0x0112, little);
  view.setUint16(12, type, little);
  view.setUint32(14, 1, little);
  if (type === 1) view.setUint8(18, value);
  else if (type === 3) view.setUint16(18, value, little);
  else view.setUint32(18, value, little);
  const tiff = new Uint8Array(view.buffer);
  return options.prefix === true ? Uint8Array.from([...Buffer.from('Exif\0\0'), ...tiff]) : tiff;
}

describe('readOrientation', () => {
  it('reads it in both byte orders, with and without prefix, in every integer type', () => {
    for (const type of [1, 3, 4]) {
      for (const little of [false, true]) {
        for (const prefix of [false, true]) {
          expect(readOrientation(exif(type, 6, { little, prefix }))).toBe(6);
        }
      }
    }
  });

  it('takes impossible values, other types and damaged data as upright', () => {
    expect(readOrientation(exif(3, 0))).toBe(1);
    expect(readOrientation(exif(3, 9))).toBe(1);
    expect(readOrientation(exif(2, 6))).toBe(1);
    const whole = exif(3, 6);
    for (let length = 0; length < 22; length += 1) {
      expect(readOrientation(whole.subarray(0, length))).toBe(1);
    }
  });

  it('survives any bytes', async () => {
    await forSeeds(500, (random) => {
      const bytes = exif(3, 6);
      for (let flips = 0; flips < 4; flips += 1) {
        bytes[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
      }
      expect(readOrientation(bytes)).toBeGreaterThanOrEqual(1);
      expect(readOrientation(bytes)).toBeLessThanOrEqual(8);
    });
  });
});
