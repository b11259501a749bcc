import { PNG_COLOR, writePng } from './png-writer.ts';

/** A segment of a JPEG with its marker and length. */
function segment(marker: number, content: readonly number[]): number[] {
  const length = content.length + 2;
  return [0xff, marker, length >> 8, length & 0xff, ...content];
}

/** A progressive JPEG whose scans hold just enough to be taken for real; what it shows is of no interest. */
export function progressiveJpeg(
  width: number,
  height: number,
  components: 1 | 3 | 4,
  scans: number,
): Uint8Array {
  const blocks = Math.ceil((width * height * components) / 64);
  const scanBytes = Math.ceil(blocks / 8 / scans) + 1;
  const frame = segment(0xc2, [
    8,
    height >> 8,
    height & 0xff,
    width >> 8,
    width & 0xff,
    components,
    ...Array.from({ length: components }, (_, index) => [index + 1, 0x11, 0]).flat(),
  ]);
  const scan = segment(0xda, [1, 1, 0, 0, 0, 0]);
  const bytes: Uint8Array[] = [Uint8Array.of(0xff, 0xd8), Uint8Array.from(frame)];
  for (let at = 0; at < scans; at++) {
    bytes.push(Uint8Array.from(scan), new Uint8Array(scanBytes));
  }
  bytes.push(Uint8Array.of(0xff, 0xd9));
  return Buffer.concat(bytes);
}

/** A PNG of one pixel with `count` empty chunks of comment before its pixels. */
export function chunkyPng(count: number): Uint8Array {
  const plain = Buffer.from(
    writePng({ width: 1, height: 1, depth: 8, color: PNG_COLOR.gray }, Uint8Array.of(0, 7)),
  );
  const head = plain.subarray(0, 33);
  // An empty tEXt chunk, with its CRC.
  const chunk = Buffer.from('0000000074455874b8b1e2a9', 'hex');
  return Buffer.concat([head, Buffer.alloc(count * chunk.length, chunk), plain.subarray(33)]);
}

/** A gray PNG of this size, all of one colour. */
export function plainPng(width: number, height: number): Uint8Array {
  const rows = new Uint8Array((width + 1) * height);
  return writePng({ width, height, depth: 8, color: PNG_COLOR.gray }, rows);
}

/** 40 bytes that are a lossless picture of 16,383 x 2,441 pixels. */
export const TINY_WEBP: Uint8Array = Buffer.from(
  'UklGRiAAAABXRUJQVlA4TBQAAAAv/j9iAoiICAAAAAAAAAAAAAAAAA==',
  'base64',
);
