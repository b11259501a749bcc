import { readOrientation, type Orientation } from './exif.ts';
import { invalidImage } from './image-error.ts';

/** What a PNG says of itself; of an animation, its still picture. */
export interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly orientation: Orientation;
  /** Bits of a sample (or of a palette index): 1, 2, 4, 8 or 16. */
  readonly bitDepth: number;
  readonly color: PngColor;
  /** Rows come in Adam7's seven passes. */
  readonly isInterlaced: boolean;
  /** [256, 3], RGB, when the samples are indices; entries not given are a gray ramp, as in PIL. */
  readonly palette: Uint8Array | null;
  /** The zlib stream of the filtered rows, in parts as they lie in the file. */
  readonly pixelData: readonly Uint8Array[];
}

export type PngColor = 'gray' | 'rgb' | 'palette' | 'gray-alpha' | 'rgba';

/** Colour types and the depths each allows. PNG, third edition, table 12. */
const COLORS: Readonly<Record<number, readonly [color: PngColor, depths: readonly number[]]>> = {
  0: ['gray', [1, 2, 4, 8, 16]],
  2: ['rgb', [8, 16]],
  3: ['palette', [1, 2, 4, 8]],
  4: ['gray-alpha', [8, 16]],
  6: ['rgba', [8, 16]],
};
const SIGNATURE_BYTES = 8;
/** Length, type and CRC around a chunk's content. */
const CHUNK_BYTES = 12;
/** Encoders write chunks of 8 KB and more; empty ones would cost far more than their bytes. */
const MAX_CHUNKS = 10_000;

/**
 * Walks all chunks of a PNG. Only header, palette, pixels and orientation are used: alpha is
 * dropped, gamma and profiles are ignored as in PIL, and compressed text is never unpacked.
 * @throws ServeError invalid_image when the file is cut off or damaged
 */
export function readPngHeader(bytes: Uint8Array): PngHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let orientation: Orientation = 1;
  let palette: Uint8Array | null = null;
  const pixelData: Uint8Array[] = [];
  let header: ReturnType<typeof readIhdr> | null = null;
  let at = SIGNATURE_BYTES;
  for (let chunks = 1; ; chunks++) {
    if (chunks > MAX_CHUNKS) throw invalidImage(`the PNG has more than ${MAX_CHUNKS} chunks.`);
    if (at + CHUNK_BYTES > bytes.length) throw cutOff();
    const length = view.getUint32(at);
    const end = at + CHUNK_BYTES + length;
    if (end > bytes.length) throw cutOff();
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, at + 8 + length);
    if ((header === null) !== (type === 'IHDR')) {
      throw invalidImage('the PNG header is missing or repeated.');
    }
    if (type === 'IHDR') header = readIhdr(content);
    if (type === 'PLTE') palette = readPalette(content);
    if (type === 'IDAT') pixelData.push(content);
    if (type === 'eXIf') orientation = readOrientation(content);
    if (type === 'IEND') break;
    at = end;
  }
  if (header === null || pixelData.length === 0) throw invalidImage('the PNG has no pixels.');
  if (header.color !== 'palette') palette = null;
  else if (palette === null) throw invalidImage('the PNG has no palette.');
  return { ...header, orientation, palette, pixelData };
}

function readIhdr(
  content: Uint8Array,
): Pick<PngHeader, 'width' | 'height' | 'bitDepth' | 'color' | 'isInterlaced'> {
  if (content.length !== 13) throw damaged();
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const bitDepth = view.getUint8(8);
  const [color, depths] = COLORS[view.getUint8(9)] ?? [];
  const interlace = view.getUint8(12);
  // Compression and filter methods other than 0 were never defined.
  if (view.getUint8(10) !== 0 || view.getUint8(11) !== 0 || interlace > 1) throw damaged();
  if (color === undefined || depths?.includes(bitDepth) !== true) throw damaged();
  return {
    width: view.getUint32(0),
    height: view.getUint32(4),
    bitDepth,
    color,
    isInterlaced: interlace === 1,
  };
}

function readPalette(content: Uint8Array): Uint8Array {
  if (content.length > 256 * 3) throw damaged();
  const palette = new Uint8Array(256 * 3);
  for (let index = 0; index < 256; index += 1) palette.fill(index, index * 3, index * 3 + 3);
  palette.set(content);
  return palette;
}

function cutOff(): Error {
  return invalidImage('the PNG file is cut off.');
}

function damaged(): Error {
  return invalidImage('the PNG header is damaged.');
}
