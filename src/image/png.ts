import type { RgbImage } from './decode.ts';
import { invalidImage } from './image-error.ts';
import type { PngColor, PngHeader } from './png-header.ts';

/** Bytes fed to the inflater at once; each may grow a thousandfold before it asks for more. */
const FEED_BYTES = 16 * 1024;
const SAMPLES: Readonly<Record<PngColor, number>> = {
  gray: 1,
  rgb: 3,
  palette: 1,
  'gray-alpha': 2,
  rgba: 4,
};
/** First column, first row and steps of Adam7's passes. PNG, third edition, section 8.1. */
const ADAM7: readonly Pass[] = [
  { x: 0, y: 0, stepX: 8, stepY: 8 },
  { x: 4, y: 0, stepX: 8, stepY: 8 },
  { x: 0, y: 4, stepX: 4, stepY: 8 },
  { x: 2, y: 0, stepX: 4, stepY: 4 },
  { x: 0, y: 2, stepX: 2, stepY: 4 },
  { x: 1, y: 0, stepX: 2, stepY: 2 },
  { x: 0, y: 1, stepX: 1, stepY: 2 },
];
const WHOLE: readonly Pass[] = [{ x: 0, y: 0, stepX: 1, stepY: 1 }];

interface Pass {
  readonly x: number;
  readonly y: number;
  readonly stepX: number;
  readonly stepY: number;
}

/**
 * Decodes the pixels of a PNG to RGB: alpha dropped, gray repeated, 16 bits cut to the high byte.
 *
 * Written here because no decoder at hand stops inflating where the picture is complete: 20 MB of
 * compressed zeros are 20 GB of work. This one reads as many bytes as the header announces.
 * @throws ServeError invalid_image; the signal's reason on abort
 */
export async function decodePng(header: PngHeader, signal?: AbortSignal): Promise<RgbImage> {
  const rows = createRowReader(header);
  const reader = inflate(header.pixelData).getReader();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const { done, value } = await readDamaged(reader);
      if (done) throw invalidImage('the PNG has fewer pixels than its header says.');
      if (rows.push(value)) break;
    }
  } finally {
    // Whatever is left is of no interest, nor is whether it would have been intact.
    reader.cancel().catch(() => undefined);
  }
  return { width: header.width, height: header.height, data: rows.data };
}

async function readDamaged(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<ReadableStreamReadResult<Uint8Array>> {
  try {
    return await reader.read();
  } catch (cause) {
    throw invalidImage('the compressed pixels of the PNG are damaged.', cause);
  }
}

function inflate(parts: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let part = 0;
  let at = 0;
  const source = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      pull(controller): void {
        while (part < parts.length && at >= (parts[part] as Uint8Array).length) {
          part += 1;
          at = 0;
        }
        const bytes = parts[part];
        if (bytes === undefined) {
          controller.close();
          return;
        }
        controller.enqueue(bytes.slice(at, at + FEED_BYTES));
        at += FEED_BYTES;
      },
    },
    { highWaterMark: 0 },
  );
  return source.pipeThrough(new DecompressionStream('deflate'));
}

interface RowReader {
  /** [height, width, 3], RGB */
  readonly data: Uint8Array;
  /** Takes inflated bytes. @returns whether the picture is complete */
  push(bytes: Uint8Array): boolean;
}

function createRowReader(header: PngHeader): RowReader {
  const { width, height } = header;
  const data = new Uint8Array(width * height * 3);
  const bitsPerPixel = SAMPLES[header.color] * header.bitDepth;
  /** Distance to the byte of the pixel before, for the filters. */
  const stride = Math.max(1, bitsPerPixel >> 3);
  const longest = Math.ceil((width * bitsPerPixel) / 8);
  let current = new Uint8Array(longest);
  let above = new Uint8Array(longest);
  const passes = (header.isInterlaced ? ADAM7 : WHOLE).filter(
    (pass) => pass.x < width && pass.y < height,
  );
  let passIndex = 0;
  let y = passes[0]?.y ?? 0;
  /** -1 while the next byte is a row's filter. */
  let filled = -1;
  let filter = 0;

  function push(bytes: Uint8Array): boolean {
    let at = 0;
    while (passIndex < passes.length) {
      const pass = passes[passIndex] as Pass;
      const pixelCount = Math.ceil((width - pass.x) / pass.stepX);
      const rowBytes = Math.ceil((pixelCount * bitsPerPixel) / 8);
      if (at === bytes.length) return false;
      if (filled === -1) {
        filter = bytes[at] as number;
        at += 1;
        filled = 0;
      }
      const taken = Math.min(rowBytes - filled, bytes.length - at);
      current.set(bytes.subarray(at, at + taken), filled);
      at += taken;
      filled += taken;
      if (filled < rowBytes) return false;
      unfilter(filter, current, above, rowBytes, stride);
      writeRow(header, current, pixelCount, data, (y * width + pass.x) * 3, pass.stepX * 3);
      [current, above] = [above, current];
      filled = -1;
      y += pass.stepY;
      if (y >= height) {
        passIndex += 1;
        y = passes[passIndex]?.y ?? 0;
        above.fill(0);
      }
    }
    return true;
  }

  return { data, push };
}

/** Undoes a row's filter in place. PNG, third edition, section 9.2. */
function unfilter(
  filter: number,
  row: Uint8Array,
  above: Uint8Array,
  length: number,
  stride: number,
): void {
  switch (filter) {
    case 0:
      return;
    case 1:
      for (let i = stride; i < length; i += 1) {
        row[i] = (row[i] as number) + (row[i - stride] as number);
      }
      return;
    case 2:
      for (let i = 0; i < length; i += 1) row[i] = (row[i] as number) + (above[i] as number);
      return;
    case 3:
      for (let i = 0; i < length; i += 1) {
        const left = i < stride ? 0 : (row[i - stride] as number);
        row[i] = (row[i] as number) + ((left + (above[i] as number)) >> 1);
      }
      return;
    case 4:
      for (let i = 0; i < length; i += 1) {
        const left = i < stride ? 0 : (row[i - stride] as number);
        const corner = i < stride ? 0 : (above[i - stride] as number);
        row[i] = (row[i] as number) + paeth(left, above[i] as number, corner);
      }
      return;
    default:
      throw invalidImage('the PNG uses a row filter that does not exist.');
  }
}

function paeth(left: number, up: number, corner: number): number {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - corner - corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** Writes one row as RGB from `start` on, `step` bytes from pixel to pixel. */
function writeRow(
  header: PngHeader,
  row: Uint8Array,
  pixelCount: number,
  data: Uint8Array,
  start: number,
  step: number,
): void {
  const { bitDepth, palette } = header;
  const sampleCount = SAMPLES[header.color];
  if (sampleCount > 2) {
    // Samples of 16 bits are big-endian: the first byte is the high one.
    const sampleBytes = bitDepth >> 3;
    const pixelBytes = sampleCount * sampleBytes;
    for (let i = 0; i < pixelCount; i += 1) {
      const at = start + i * step;
      const from = i * pixelBytes;
      data[at] = row[from] as number;
      data[at + 1] = row[from + sampleBytes] as number;
      data[at + 2] = row[from + sampleBytes * 2] as number;
    }
    return;
  }
  const mask = (1 << Math.min(bitDepth, 8)) - 1;
  const scale = palette === null ? 255 / mask : 1;
  for (let i = 0; i < pixelCount; i += 1) {
    const bit = i * sampleCount * bitDepth;
    // Below 8 bits the first pixel is in the highest bits.
    const shift = bitDepth < 8 ? 8 - bitDepth - (bit & 7) : 0;
    const value = (((row[bit >> 3] as number) >> shift) & mask) * scale;
    const at = start + i * step;
    data[at] = palette === null ? value : (palette[value * 3] as number);
    data[at + 1] = palette === null ? value : (palette[value * 3 + 1] as number);
    data[at + 2] = palette === null ? value : (palette[value * 3 + 2] as number);
  }
}
