import { ServeError } from '../errors.ts';
import { readGifHeader, type GifHeader } from './gif.ts';
import { invalidImage } from './image-error.ts';
import { readJpegHeader, type JpegHeader } from './jpeg-header.ts';
import { readPngHeader, type PngHeader } from './png-header.ts';
import { refuseFormat } from './unsupported-format.ts';
import { readWebpHeader, type WebpHeader } from './webp-header.ts';

/** What a picture may cost. */
export interface ImageLimits {
  /** Of the compressed file. */
  readonly maxBytes: number;
  /** Width times height. */
  readonly maxPixels: number;
  /** Longest side, in pixels. */
  readonly maxSide: number;
}

/** 20 MB is the limit of other OpenAI-style servers; 25 megapixels, a good camera's, take 175 MB while decoding. */
export const DEFAULT_IMAGE_LIMITS: ImageLimits = {
  maxBytes: 20_000_000,
  maxPixels: 25_000_000,
  maxSide: 16_384,
};

/** A picture's format and its header; `width` and `height` are as stored, before turning upright. */
export type ImageHeader =
  | ({ readonly format: 'jpeg' } & JpegHeader)
  | ({ readonly format: 'png' } & PngHeader)
  | ({ readonly format: 'webp' } & WebpHeader)
  | ({ readonly format: 'gif' } & GifHeader);

/**
 * Tells the format from the first bytes, whatever the sender called it, and the size from the
 * header, without decoding: what passes is safe to hand to a decoder.
 * @throws ServeError invalid_image (unknown, unsupported, cut off or damaged), image_too_large
 */
export function readImageHeader(
  bytes: Uint8Array,
  limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
): ImageHeader {
  if (bytes.length === 0) throw invalidImage('it is empty.');
  checkByteLength(bytes.length, limits);
  const header = parseHeader(bytes);
  checkSize(header.width, header.height, limits);
  return header;
}

/** @throws ServeError image_too_large */
export function checkByteLength(byteLength: number, limits: Pick<ImageLimits, 'maxBytes'>): void {
  if (byteLength <= limits.maxBytes) return;
  throw new ServeError(
    'image_too_large',
    `The image is ${megabytes(byteLength)} MB, at most ${megabytes(limits.maxBytes)} MB are taken: send a smaller or more strongly compressed one.`,
  );
}

function checkSize(width: number, height: number, limits: ImageLimits): void {
  if (width === 0 || height === 0) throw invalidImage(`it is ${width}x${height} pixels.`);
  if (width <= limits.maxSide && height <= limits.maxSide && width * height <= limits.maxPixels) {
    return;
  }
  throw new ServeError(
    'image_too_large',
    `The image is ${width}x${height} pixels, at most ${limits.maxPixels / 1e6} megapixels and ${limits.maxSide} pixels a side are taken: scale it down, the model sees it much smaller anyway.`,
  );
}

function parseHeader(bytes: Uint8Array): ImageHeader {
  if (startsWith(bytes, [0xff, 0xd8, 0xff])) return { format: 'jpeg', ...readJpegHeader(bytes) };
  if (startsWith(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) {
    return { format: 'png', ...readPngHeader(bytes) };
  }
  const text = String.fromCharCode(...bytes.subarray(0, 64));
  if (text.startsWith('RIFF') && text.slice(8, 12) === 'WEBP') {
    return { format: 'webp', ...readWebpHeader(bytes) };
  }
  if (text.startsWith('GIF87a') || text.startsWith('GIF89a')) {
    return { format: 'gif', ...readGifHeader(bytes) };
  }
  throw refuseFormat(text);
}

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((value, index) => bytes[index] === value);
}

function megabytes(byteLength: number): string {
  return (byteLength / 1e6).toFixed(byteLength < 1e7 ? 1 : 0);
}
