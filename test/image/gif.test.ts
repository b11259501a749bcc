import { describe, expect, it } from 'vitest';
import { decodeGif, readGifHeader } from '../../src/image/gif.ts';
import { ServeError } from '../../src/errors.ts';
import { readImageFile } from '../support/golden-images.ts';
import { forSeeds, type SeededRandom } from '../support/seeded-random.ts';
import { thrownBy } from '../support/thrown-by.ts';

/** Real LZW, with a table that fills up and is cleared at whim: what encoders may do. */
function compress(indices: readonly number[], bits: number, random: SeededRandom): number[] {
  const clear = 1 << bits;
  const codes: [code: number, size: number][] = [];
  let table = new Map<string, number>();
  let next = clear + 2;
  let size = bits + 1;
  const put = (code: number): void => void codes.push([code, size]);
  const reset = (): void => {
    put(clear);
    table = new Map(Array.from({ length: clear }, (_, i) => [String(i), i]));
    next = clear + 2;
    size = bits + 1;
  };
  reset();
  let text = '';
  for (const index of indices) {
    const longer = text === '' ? String(index) : `${text},${index}`;
    if (table.has(longer)) {
      text = longer;
      continue;
    }
    put(table.get(text) as number);
    if (next < 4096) {
      table.set(longer, next);
      next += 1;
      if (next - 1 === 1 << size && size < 12) size += 1;
    }
    if (random.chance(next < 4096 ? 0.001 : 0.02)) reset();
    text = String(index);
  }
  put(table.get(text) as number);
  put(clear + 1);
  const bytes: number[] = [];
  let pending = 0;
  let filled = 0;
  for (const [code, width] of codes) {
    pending |= code << filled;
    filled += width;
    for (; filled >= 8; filled -= 8) {
      bytes.push(pending & 255);
      pending >>>= 8;
    }
  }
  if (filled > 0) bytes.push(pending & 255);
  const blocks = [bits];
  for (let at = 0; at < bytes.length; at += 255) {
    const block = bytes.slice(at, at + 255);
    blocks.push(block.length, ...block);
  }
  return [...blocks, 0];
}

const screen = (width: number, height: number): number[] => [width, 0, height, 0, 0, 0, 0];
const place = (width: number, height: number): number[] => [0, 0, 0, 0, width, 0, height, 0, 0];

describe('decodeGif', () => {
  it('unpacks whatever an encoder may write, through full and cleared tables', async () => {
    await forSeeds(25, (random) => {
      const bits = random.integer(2, 8);
      const [width, height] = [random.integer(1, 150), random.integer(1, 150)];
      const spread = random.integer(0, (1 << bits) - 1);
      const indices = Array.from({ length: width * height }, () => random.integer(0, spread));
      // No palette at all: PIL shows indices as gray.
      const file = Uint8Array.from([
        ...Buffer.from('GIF89a'),
        // Canvas, no palette; then the frame of the same size.
        ...screen(width, height),
        0x2c,
        ...place(width, height),
        ...compress(indices, bits, random),
        0x3b,
      ]);
      const image = decodeGif(file, readGifHeader(file));
      expect(Array.from(indices, (_, i) => image.data[i * 3])).toEqual(indices);
    });
  });

  it('refuses a file that is cut off anywhere before the last pixel', () => {
    const bytes = readImageFile('plain.gif');
    // The end-of-information code, block terminator and trailer are not needed.
    for (let length = 13; length < bytes.length - 5; length += 3) {
      const cut = bytes.subarray(0, length);
      const error = thrownBy(() => decodeGif(cut, readGifHeader(cut)));
      expect(error.code).toBe('invalid_image');
    }
  });

  it('refuses a file without a frame', () => {
    const empty = Uint8Array.from([...Buffer.from('GIF89a'), 1, 0, 1, 0, 0, 0, 0, 0x3b]);
    expect(thrownBy(() => readGifHeader(empty)).message).toContain('no frame');
  });

  it('answers damaged files with a picture or a ServeError, nothing else', async () => {
    const whole = readImageFile('animated.gif');
    await forSeeds(1000, (random) => {
      const bytes = whole.slice();
      // Behind the canvas and frame sizes, which the caller checks before decoding.
      for (let flips = 0; flips < 3; flips += 1) {
        bytes[random.integer(160, bytes.length - 1)] = random.integer(0, 255);
      }
      try {
        const header = readGifHeader(bytes);
        if (header.width * header.height < 1e6) decodeGif(bytes, header);
      } catch (error) {
        if (!ServeError.is(error)) throw error;
      }
    });
  });
});
