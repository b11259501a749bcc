import { deflateSync } from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { decodePng } from '../../src/image/png.ts';
import { readPngHeader } from '../../src/image/png-header.ts';
import { readImageFile } from '../support/golden-images.ts';
import { PNG_COLOR, writePng } from '../support/png-writer.ts';
import { forSeeds } from '../support/seeded-random.ts';
import { rejectedBy, thrownBy } from '../support/thrown-by.ts';

/** Filters `rows` ([height, rowBytes]) with one filter each, the straightforward way. */
function applyFilters(
  rows: Uint8Array,
  rowBytes: number,
  stride: number,
  filters: readonly number[],
): Uint8Array {
  const out: number[] = [];
  const at = (y: number, i: number): number =>
    y < 0 || i < 0 ? 0 : (rows[y * rowBytes + i] as number);
  filters.forEach((filter, y) => {
    out.push(filter);
    for (let i = 0; i < rowBytes; i += 1) {
      const [a, b, c] = [at(y, i - stride), at(y - 1, i), at(y - 1, i - stride)];
      const p = a + b - c;
      const nearest = [a, b, c].reduce((best, value) =>
        Math.abs(p - value) < Math.abs(p - best) ? value : best,
      );
      const guess = [0, a, b, (a + b) >> 1, nearest][filter] as number;
      out.push((at(y, i) - guess) & 255);
    }
  });
  return Uint8Array.from(out);
}

afterEach(() => vi.unstubAllGlobals());

describe('decodePng', () => {
  it('undoes every row filter, at every pixel size', async () => {
    await forSeeds(40, async (random) => {
      const color = random.pick([PNG_COLOR.rgb, PNG_COLOR.rgba]);
      const depth = random.pick([8, 16]);
      const width = random.integer(1, 20);
      const height = random.integer(1, 12);
      const sampleBytes = depth / 8;
      const stride = (color === PNG_COLOR.rgb ? 3 : 4) * sampleBytes;
      const rows = Uint8Array.from({ length: width * stride * height }, () =>
        random.integer(0, 255),
      );
      const filters = Array.from({ length: height }, () => random.integer(0, 4));
      const file = writePng(
        { width, height, depth, color },
        applyFilters(rows, width * stride, stride, filters),
      );
      const image = await decodePng(readPngHeader(file));
      const wanted = Array.from(
        { length: width * height * 3 },
        (_, i) => rows[Math.floor(i / 3) * stride + (i % 3) * sampleBytes],
      );
      expect([...image.data]).toEqual(wanted);
    });
  });

  it('reads pixels that are split over many chunks at odd places', async () => {
    const file = readImageFile('rgb.png');
    const header = readPngHeader(file);
    const whole = await decodePng(header);
    const stream = Buffer.concat(header.pixelData);
    const pixelData = Array.from(stream, (_, i) => stream.subarray(i, i + 1));
    expect(await decodePng({ ...header, pixelData })).toEqual(whole);
  });

  it('stops inflating where the picture is complete', async () => {
    const row = Buffer.alloc(1 + 3);
    const compressed = deflateSync(Buffer.concat([row, Buffer.alloc(50_000_000)]));
    const file = writePng({ width: 1, height: 1, depth: 8, color: PNG_COLOR.rgb }, row, {
      compressed,
    });
    let inflated = 0;
    class CountingDecompression extends DecompressionStream {
      override readonly readable = super.readable.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform(chunk, controller): void {
            inflated += chunk.length;
            controller.enqueue(chunk);
          },
        }),
      );
    }
    vi.stubGlobal('DecompressionStream', CountingDecompression);
    expect((await decodePng(readPngHeader(file))).data).toEqual(new Uint8Array(3));
    // Whatever was under way when the picture was complete has come to an end.
    await new Promise((resolve) => setImmediate(resolve));
    expect(inflated).toBeGreaterThan(0);
    expect(inflated).toBeLessThan(1_000_000);
  });

  it('colours indices beyond the palette as PIL does, by a gray ramp', async () => {
    const file = writePng(
      { width: 2, height: 1, depth: 8, color: PNG_COLOR.palette },
      Uint8Array.of(0, 0, 9),
      { palette: Uint8Array.of(1, 2, 3) },
    );
    expect([...(await decodePng(readPngHeader(file))).data]).toEqual([1, 2, 3, 9, 9, 9]);
  });

  it('decodes interlaced pictures of sizes that leave passes empty', async () => {
    for (const [width, height] of [
      [1, 1],
      [2, 1],
      [1, 5],
      [3, 2],
    ] as const) {
      // Gray, each pixel its own value, rows in the order of the passes.
      const rows: number[] = [];
      for (const [x0, y0, dx, dy] of [
        [0, 0, 8, 8],
        [4, 0, 8, 8],
        [0, 4, 4, 8],
        [2, 0, 4, 4],
        [0, 2, 2, 4],
        [1, 0, 2, 2],
        [0, 1, 1, 2],
      ] as const) {
        if (x0 >= width) continue;
        for (let y = y0; y < height; y += dy) {
          rows.push(0);
          for (let x = x0; x < width; x += dx) rows.push(y * width + x);
        }
      }
      const head = { width, height, depth: 8, color: PNG_COLOR.gray, interlace: 1 };
      const image = await decodePng(readPngHeader(writePng(head, Uint8Array.from(rows))));
      const gray = Array.from({ length: width * height }, (_, i) => image.data[i * 3]);
      expect(gray).toEqual(gray.map((_, i) => i));
    }
  });

  const head = { width: 4, height: 4, depth: 8, color: PNG_COLOR.rgb };
  const damaged: readonly (readonly [what: string, file: Uint8Array])[] = [
    ['too few rows', writePng(head, new Uint8Array(3 * 13))],
    ['a filter that does not exist', writePng(head, new Uint8Array(4 * 13).fill(5))],
    ['no zlib stream', writePng(head, new Uint8Array(), { compressed: new Uint8Array(50) })],
    ['an empty stream', writePng(head, new Uint8Array(), { compressed: new Uint8Array() })],
    [
      'half a stream',
      writePng(head, new Uint8Array(), { compressed: deflateSync(patterned(52)).subarray(0, 20) }),
    ],
  ];
  for (const [what, file] of damaged) {
    it(`refuses a picture with ${what}`, async () => {
      const error = await rejectedBy(decodePng(readPngHeader(file)));
      expect(error.code).toBe('invalid_image');
    });
  }

  it('stops when the signal aborts', async () => {
    const header = readPngHeader(readImageFile('rgb.png'));
    await expect(decodePng(header, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
  });
});

describe('readPngHeader', () => {
  it('refuses headers that contradict the format', () => {
    const rows = new Uint8Array(100);
    const heads = [
      { width: 1, height: 1, depth: 3, color: PNG_COLOR.gray },
      { width: 1, height: 1, depth: 16, color: PNG_COLOR.palette },
      { width: 1, height: 1, depth: 8, color: 5 },
      { width: 1, height: 1, depth: 8, color: PNG_COLOR.rgb, interlace: 2 },
    ];
    for (const wrong of heads) {
      expect(thrownBy(() => readPngHeader(writePng(wrong, rows))).message).toContain('header');
    }
    const noPalette = writePng({ width: 1, height: 1, depth: 8, color: PNG_COLOR.palette }, rows);
    expect(thrownBy(() => readPngHeader(noPalette)).message).toContain('no palette');
  });
});

function patterned(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 97) & 255);
}
