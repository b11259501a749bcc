import { hasExifPrefix, readOrientation, type Orientation } from './exif.ts';
import { invalidImage, unsupportedImage } from './image-error.ts';

/** What a JPEG says of itself, read from its markers without decoding. */
export interface JpegHeader {
  readonly width: number;
  readonly height: number;
  /** 1 is gray, 3 is colour, 4 is CMYK or YCCK. */
  readonly componentCount: number;
  readonly orientation: Orientation;
}

const MARKER = { soi: 0xd8, eoi: 0xd9, sos: 0xda, app1: 0xe1 } as const;
/** Frames of other kinds, by the marker that opens them. T.81, table B.1. */
const UNSUPPORTED_FRAMES: Readonly<Record<number, string>> = {
  0xc3: 'a lossless JPEG',
  0xc5: 'a hierarchical JPEG',
  0xc6: 'a hierarchical JPEG',
  0xc7: 'a hierarchical JPEG',
  0xc9: 'an arithmetic-coded JPEG',
  0xca: 'an arithmetic-coded JPEG',
  0xcb: 'an arithmetic-coded JPEG',
  0xcd: 'a hierarchical JPEG',
  0xce: 'a hierarchical JPEG',
  0xcf: 'a hierarchical JPEG',
};
const RE_ENCODE = 're-encode it as a baseline or progressive 8-bit JPEG, or as PNG.';
/** Encoders write about ten. */
const MAX_SCANS = 100;
/** Each scan costs a pass over the whole picture, however short it is: about a second of decoding in all. */
const MAX_SCANNED_PIXELS = 400_000_000;
/** Of four components, which are decoded in plain JavaScript: some ten times slower. */
const MAX_CMYK_PIXELS = 4_000_000;
const MAX_SCANNED_CMYK_PIXELS = 40_000_000;

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly componentCount: number;
  /** Blocks of 8x8 in all components, rounded down. */
  readonly blockCount: number;
  readonly isProgressive: boolean;
}

/**
 * Walks all markers of a JPEG.
 * @throws ServeError invalid_image when the file is cut off or damaged, of a kind that no decoder
 *   here reads, or when it has too little data, or too many passes, for its size
 */
export function readJpegHeader(bytes: Uint8Array): JpegHeader {
  let frame: Frame | null = null;
  let orientation: Orientation | null = null;
  let scanCount = 0;
  let scanBytes = 0;
  let at = 2;
  for (;;) {
    at = nextMarker(bytes, at);
    const marker = bytes[at] as number;
    at += 1;
    if (marker === MARKER.eoi) break;
    if (marker === 0x01 || (marker >= 0xd0 && marker <= MARKER.soi)) continue;
    const segment = readSegment(bytes, at);
    at += 2 + segment.length;
    const unsupported = UNSUPPORTED_FRAMES[marker];
    if (unsupported !== undefined) throw unsupportedImage(unsupported, RE_ENCODE);
    if (marker >= 0xc0 && marker <= 0xc2) {
      if (frame !== null) throw invalidImage('the JPEG has two frames.');
      frame = readFrame(segment, marker === 0xc2);
    } else if (marker === MARKER.app1 && orientation === null && hasExifPrefix(segment)) {
      orientation = readOrientation(segment);
    } else if (marker === MARKER.sos) {
      scanCount += 1;
      if (scanCount > MAX_SCANS) throw invalidImage(`the JPEG has more than ${MAX_SCANS} scans.`);
      const end = endOfScan(bytes, at);
      scanBytes += end - at;
      at = end;
    }
  }
  if (frame === null) throw invalidImage('the JPEG has no frame header.');
  checkScanBytes(frame, scanBytes);
  checkWork(frame, scanCount);
  const { width, height, componentCount } = frame;
  return { width, height, componentCount, orientation: orientation ?? 1 };
}

/** Index of the next marker's code, past fill bytes and any stray bytes before it. */
function nextMarker(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    at = bytes.indexOf(0xff, at);
    if (at === -1) throw cutOff();
    while (bytes[at] === 0xff) at += 1;
    if (at >= bytes.length) throw cutOff();
    if (bytes[at] !== 0) return at;
  }
}

/** A segment's content, after its two bytes of length. */
function readSegment(bytes: Uint8Array, at: number): Uint8Array {
  const length = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  if (at + 2 > bytes.length || at + length > bytes.length) throw cutOff();
  if (length < 2) throw invalidImage('a JPEG segment has an impossible length.');
  return bytes.subarray(at + 2, at + length);
}

/** Index of the 0xff of the marker that ends the entropy-coded data starting at `from`. */
function endOfScan(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    at = bytes.indexOf(0xff, at);
    if (at === -1 || at + 1 >= bytes.length) throw cutOff();
    const code = bytes[at + 1] as number;
    const isData = code === 0 || (code >= 0xd0 && code <= 0xd7);
    if (!isData && code !== 0xff) return at;
    at += isData ? 2 : 1;
  }
}

function readFrame(segment: Uint8Array, isProgressive: boolean): Frame {
  const componentCount = segment[5] ?? 0;
  if (segment.length < 6 + componentCount * 3) throw invalidImage('the JPEG frame is damaged.');
  if (segment[0] !== 8) throw unsupportedImage(`a JPEG of ${segment[0]} bits`, RE_ENCODE);
  const view = new DataView(segment.buffer, segment.byteOffset, segment.byteLength);
  const height = view.getUint16(1);
  const width = view.getUint16(3);
  if (componentCount !== 1 && componentCount !== 3 && componentCount !== 4) {
    throw unsupportedImage(`a JPEG of ${componentCount} components`, RE_ENCODE);
  }
  let samplings = 0;
  let widest = 1;
  let tallest = 1;
  for (let index = 0; index < componentCount; index += 1) {
    const sampling = segment[7 + index * 3] as number;
    const across = sampling >> 4;
    const down = sampling & 15;
    if (across < 1 || across > 4 || down < 1 || down > 4) {
      throw invalidImage('the JPEG has an impossible sampling factor.');
    }
    samplings += across * down;
    widest = Math.max(widest, across);
    tallest = Math.max(tallest, down);
  }
  const blockCount = Math.floor((width * height * samplings) / (64 * widest * tallest));
  return { width, height, componentCount, blockCount, isProgressive };
}

/**
 * The shortest codes a block can have: one bit in a progressive file, where later passes may skip
 * it, else two (no difference to the block before, nothing else). A file with less describes only
 * part of its picture; decoders would fill up a huge canvas with gray.
 */
function checkScanBytes(frame: Frame, scanBytes: number): void {
  const bitsPerBlock = frame.isProgressive ? 1 : 2;
  if (scanBytes * 8 < frame.blockCount * bitsPerBlock) {
    throw invalidImage(
      `a JPEG of ${frame.width}x${frame.height} pixels cannot be only ${scanBytes} bytes of picture data.`,
    );
  }
}

/** @throws ServeError invalid_image for one that takes far longer to decode than others of its size */
function checkWork({ width, height, componentCount }: Frame, scanCount: number): void {
  const pixels = width * height;
  const isCmyk = componentCount === 4;
  if (isCmyk && pixels > MAX_CMYK_PIXELS) {
    throw unsupportedImage(
      `a CMYK JPEG of more than ${MAX_CMYK_PIXELS / 1e6} megapixels`,
      'convert it to an RGB JPEG.',
    );
  }
  if (pixels * scanCount <= (isCmyk ? MAX_SCANNED_CMYK_PIXELS : MAX_SCANNED_PIXELS)) return;
  throw unsupportedImage(
    `a JPEG of ${width}x${height} pixels in ${scanCount} scans`,
    're-encode it with fewer, or as a baseline JPEG.',
  );
}

function cutOff(): Error {
  return invalidImage('the JPEG file is cut off.');
}
