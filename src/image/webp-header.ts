import { readOrientation, type Orientation } from './exif.ts';
import { invalidImage } from './image-error.ts';

/** What a WebP says of itself; of an animation, its first frame. */
export interface WebpHeader {
  /** Of the canvas, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly orientation: Orientation;
  /** Where the picture lies on the canvas; it is the whole canvas unless the file is animated. */
  readonly frame: {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
  };
  /** A still WebP of the frame: decoders do not read animations. */
  readonly still: () => Uint8Array;
}

interface Chunk {
  readonly type: string;
  readonly content: Uint8Array;
  /** With its header and padding. */
  readonly whole: Uint8Array;
}

interface Size {
  readonly width: number;
  readonly height: number;
}

const RIFF_HEADER_BYTES = 12;
const ANIMATION_FLAG = 0x02;
const FRAME_HEADER_BYTES = 16;

/**
 * Walks the chunks of a WebP.
 * @throws ServeError invalid_image when the file is cut off, damaged, or contradicts itself
 */
export function readWebpHeader(bytes: Uint8Array): WebpHeader {
  const riffBytes = 8 + uint(bytes, 4, 4);
  if (riffBytes > bytes.length) throw cutOff();
  const chunks = readChunks(bytes.subarray(RIFF_HEADER_BYTES, riffBytes));
  const extended = chunks[0]?.type === 'VP8X' ? chunks[0].content : null;
  if (extended === null) {
    const size = pictureSize(chunks);
    return { ...size, orientation: 1, frame: { x: 0, y: 0, ...size }, still: () => bytes };
  }
  if (extended.length < 10) throw damaged();
  const canvas: Size = { width: uint(extended, 4, 3) + 1, height: uint(extended, 7, 3) + 1 };
  const exif = chunks.find((chunk) => chunk.type === 'EXIF');
  const orientation = exif === undefined ? 1 : readOrientation(exif.content);
  if (((extended[0] as number) & ANIMATION_FLAG) !== 0) {
    return { ...canvas, orientation, ...firstFrame(chunks, canvas) };
  }
  const size = pictureSize(chunks);
  if (size.width !== canvas.width || size.height !== canvas.height) throw contradiction();
  return { ...canvas, orientation, frame: { x: 0, y: 0, ...canvas }, still: () => bytes };
}

function firstFrame(chunks: readonly Chunk[], canvas: Size): Pick<WebpHeader, 'frame' | 'still'> {
  const content = chunks.find((chunk) => chunk.type === 'ANMF')?.content;
  if (content === undefined) throw invalidImage('the WebP animation has no frame.');
  if (content.length < FRAME_HEADER_BYTES) throw damaged();
  const frame = {
    x: uint(content, 0, 3) * 2,
    y: uint(content, 3, 3) * 2,
    width: uint(content, 6, 3) + 1,
    height: uint(content, 9, 3) + 1,
  };
  const isInside = frame.x + frame.width <= canvas.width && frame.y + frame.height <= canvas.height;
  const parts = readChunks(content.subarray(FRAME_HEADER_BYTES));
  const size = pictureSize(parts);
  if (!isInside || size.width !== frame.width || size.height !== frame.height) {
    throw contradiction();
  }
  return { frame, still: () => stillFile(frame, parts) };
}

/** Wraps the chunks of one frame as a file of their own. */
function stillFile(size: Size, parts: readonly Chunk[]): Uint8Array {
  const alpha = parts.find((part) => part.type === 'ALPH');
  const picture = parts.filter((part) => part.type === 'VP8 ' || part.type === 'VP8L');
  const body = alpha === undefined ? picture : [alpha, ...picture];
  const total = RIFF_HEADER_BYTES + 18 + body.reduce((sum, part) => sum + part.whole.length, 0);
  const file = new Uint8Array(total);
  const view = new DataView(file.buffer);
  putText(file, 0, 'RIFF');
  view.setUint32(4, total - 8, true);
  putText(file, 8, 'WEBPVP8X');
  view.setUint32(16, 10, true);
  file[20] = alpha === undefined ? 0 : 0x10;
  view.setUint32(24, size.width - 1, true);
  view.setUint32(27, size.height - 1, true);
  let at = 30;
  for (const part of body) {
    file.set(part.whole, at);
    at += part.whole.length;
  }
  return file;
}

function readChunks(bytes: Uint8Array): Chunk[] {
  const chunks: Chunk[] = [];
  let at = 0;
  while (at + 8 <= bytes.length) {
    const length = uint(bytes, at + 4, 4);
    const end = at + 8 + length;
    if (end > bytes.length) throw cutOff();
    const type = String.fromCharCode(...bytes.subarray(at, at + 4));
    const padded = Math.min(end + (length & 1), bytes.length);
    chunks.push({
      type,
      content: bytes.subarray(at + 8, end),
      whole: bytes.subarray(at, padded),
    });
    at = padded;
  }
  return chunks;
}

/** Size from the header of the first bitstream among `chunks`. RFC 9649, sections 2.5 and 3.4. */
function pictureSize(chunks: readonly Chunk[]): Size {
  const picture = chunks.find((chunk) => chunk.type === 'VP8 ' || chunk.type === 'VP8L');
  if (picture === undefined) throw invalidImage('the WebP has no pixels.');
  const data = picture.content;
  if (picture.type === 'VP8L') {
    if (data.length < 5 || data[0] !== 0x2f) throw damaged();
    const bits = uint(data, 1, 4);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  // Frame tag, start code, then 14 bits of size and 2 of scaling each way.
  const isKeyFrame = data.length >= 10 && ((data[0] as number) & 1) === 0;
  if (!isKeyFrame || uint(data, 3, 3) !== 0x2a019d) throw damaged();
  return { width: uint(data, 6, 2) & 0x3fff, height: uint(data, 8, 2) & 0x3fff };
}

/** A little-endian number of up to four bytes; bytes past the end count as 0. */
function uint(bytes: Uint8Array, at: number, byteCount: number): number {
  let value = 0;
  for (let index = byteCount - 1; index >= 0; index -= 1) {
    value = value * 256 + (bytes[at + index] ?? 0);
  }
  return value;
}

function putText(bytes: Uint8Array, at: number, text: string): void {
  for (let index = 0; index < text.length; index += 1) bytes[at + index] = text.charCodeAt(index);
}

function cutOff(): Error {
  return invalidImage('the WebP file is cut off.');
}

function damaged(): Error {
  return invalidImage('the WebP header is damaged.');
}

function contradiction(): Error {
  return invalidImage('the WebP gives two different sizes.');
}
