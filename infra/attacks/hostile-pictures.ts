import { crc32, deflateSync } from 'node:zlib';
import { jpegOfScans } from './jpeg-of-scans.ts';

/** A picture part of a message. */
export interface PicturePart {
  readonly type: 'image_url';
  readonly image_url: { readonly url: string };
}

/** Of 40 bytes, 16383x2441 pixels of one colour: the format needs no data for that. */
const WEBP = 'UklGRiAAAABXRUJQVlA4TBQAAAAv/j9iAoiICAAAAAAAAAAAAAAAAA==';
const SIDE = 16_384;
/** Both within 40 megapixels. */
const HEIGHT = 2_441;
const EMPTY_CHUNKS = 1_600_000;
/** Of a GIF's table; then it begins anew. */
const GIF_CODES = 4_096;

/** Pictures within every limit on bytes, sides and pixels that are dear to decode. */
export const HOSTILE_PICTURES = {
  webp: () => part('webp', Buffer.from(WEBP, 'base64')),
  cmykScans: () => jpeg(4, 100),
  colourScans: () => jpeg(3, 100),
  grayScans: () => jpeg(1, 100),
  cmyk: () => jpeg(4, 1),
  pngChunks: () => part('png', pngOfChunks(EMPTY_CHUNKS)),
  gif: () => part('gif', gifOfOneColour(SIDE, HEIGHT)),
} as const;

function jpeg(components: 1 | 3 | 4, scans: number): PicturePart {
  return part('jpeg', jpegOfScans({ width: SIDE, height: HEIGHT, components, scans }));
}

function part(format: string, bytes: Uint8Array): PicturePart {
  const url = `data:image/${format};base64,${Buffer.from(bytes).toString('base64')}`;
  return { type: 'image_url', image_url: { url } };
}

/** One gray pixel, and very many chunks of no data. */
export function pngOfChunks(count: number): Uint8Array {
  const head = Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
  const empty = pngChunk('IDAT', Buffer.alloc(0));
  return Buffer.concat([
    Buffer.from('89504e470d0a1a0a', 'hex'),
    pngChunk('IHDR', head),
    pngChunk('IDAT', deflateSync(Buffer.from([0, 0]))),
    Buffer.alloc(count * empty.length, empty),
    pngChunk('IEND', Buffer.alloc(0)),
  ]);
}

function pngChunk(type: string, content: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), content]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(content.length, 0);
  frame.writeUInt32BE(crc32(named), 4);
  return Buffer.concat([frame.subarray(0, 4), named, frame.subarray(4)]);
}

/** Every code stands for one pixel more than the one before it. */
export function gifOfOneColour(width: number, height: number): Uint8Array {
  const head = Buffer.from(
    `474946383961${'0'.repeat(8)}800000000000ffffff2c${'0'.repeat(16)}`,
    'hex',
  );
  for (const at of [6, 24]) head.writeUInt16LE(width, at);
  for (const at of [8, 26]) head.writeUInt16LE(height, at);
  const data = constantCodes(width * height);
  const blocks: Buffer[] = [];
  for (let at = 0; at < data.length; at += 255) {
    const block = data.subarray(at, at + 255);
    blocks.push(Buffer.from([block.length]), block);
  }
  return Buffer.concat([head, Buffer.from([0x00, 2]), ...blocks, Buffer.from([0, 0x3b])]);
}

/** LZW of so many zeros, with two bits a pixel. */
function constantCodes(pixels: number): Buffer {
  const [clear, end] = [4, 5];
  const bytes: number[] = [];
  let held = 0;
  let heldBits = 0;
  let size = 3;
  const put = (code: number): void => {
    held |= code << heldBits;
    heldBits += size;
    for (; heldBits >= 8; heldBits -= 8, held >>>= 8) bytes.push(held & 0xff);
  };
  for (let left = pixels; left > 0;) {
    put(clear);
    size = 3;
    put(0);
    left -= 1;
    for (let code = end + 1; code < GIF_CODES && left > 0; code++) {
      const run = code - end + 1;
      if (run > left) {
        // Single ones to the end: a code of another length would have to be looked for.
        for (; left > 0; left--) {
          put(clear);
          size = 3;
          put(0);
        }
        break;
      }
      put(code);
      left -= run;
      if (code + 1 === 1 << size && size < 12) size += 1;
    }
  }
  put(end);
  bytes.push(held & 0xff);
  return Buffer.from(bytes);
}
