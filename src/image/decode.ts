import { ServeError } from '../errors.ts';
import { decodeGif } from './gif.ts';
import { invalidImage, unsupportedImage } from './image-error.ts';
import { applyOrientation } from './orient.ts';
import { decodePng } from './png.ts';
import {
  DEFAULT_IMAGE_LIMITS,
  readImageHeader,
  type ImageHeader,
  type ImageLimits,
} from './sniff.ts';

/** A decoded picture, upright and without alpha. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** [height, width, 3], RGB, 0..255 */
  readonly data: Uint8Array;
}

/** The port between image files and pixels. */
export interface ImageDecoder {
  /**
   * Decodes a JPEG, PNG, WebP or GIF (its first frame) to what PIL's `exif_transpose` and
   * `convert('RGB')` give: turned upright, alpha dropped and not blended.
   * @throws ServeError invalid_image, image_too_large; the signal's reason on abort
   */
  decode(bytes: Uint8Array, signal?: AbortSignal): Promise<RgbImage>;
}

/** Pixels as decoders hand them over: [height, width, 4], RGBA, alpha not premultiplied. */
export interface RgbaImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array | Uint8ClampedArray;
}

/**
 * Decodes files of one format; rejects on damaged ones and works on for the next. A ServeError
 * says that the decoder itself failed, any other error that the file is damaged.
 */
export type ImageCodec = (bytes: Uint8Array) => Promise<RgbaImage>;

export interface ImageDecoderOptions {
  /** Gray and colour JPEG, baseline and progressive; must not apply the EXIF orientation. */
  readonly jpeg: ImageCodec;
  /** JPEG of four components (CMYK, YCCK); without it they are refused. */
  readonly cmykJpeg?: ImageCodec;
  /** Still WebP. */
  readonly webp: ImageCodec;
  readonly limits?: ImageLimits;
}

/** Builds an {@link ImageDecoder} from the codecs a runtime has; PNG and GIF need none. */
export function createImageDecoder(options: ImageDecoderOptions): ImageDecoder {
  const limits = options.limits ?? DEFAULT_IMAGE_LIMITS;
  return {
    async decode(bytes: Uint8Array, signal?: AbortSignal): Promise<RgbImage> {
      signal?.throwIfAborted();
      const header = readImageHeader(bytes, limits);
      const image = await decodePixels(bytes, header, options, signal);
      signal?.throwIfAborted();
      return header.format === 'gif' ? image : applyOrientation(image, header.orientation);
    },
  };
}

async function decodePixels(
  bytes: Uint8Array,
  header: ImageHeader,
  codecs: ImageDecoderOptions,
  signal: AbortSignal | undefined,
): Promise<RgbImage> {
  switch (header.format) {
    case 'gif':
      return decodeGif(bytes, header);
    case 'png':
      return decodePng(header, signal);
    case 'webp': {
      const image = await run(codecs.webp, header.still(), header.frame);
      return placeOn(header.width, header.height, image, header.frame.x, header.frame.y);
    }
    case 'jpeg': {
      if (header.componentCount !== 4) return dropAlpha(await run(codecs.jpeg, bytes, header));
      if (codecs.cmykJpeg !== undefined) {
        return dropAlpha(await run(codecs.cmykJpeg, bytes, header));
      }
      throw unsupportedImage('a CMYK JPEG', 'convert it to an RGB JPEG.');
    }
    default:
      return header satisfies never;
  }
}

/** Runs a codec and holds it to the size the header promised. */
async function run(
  codec: ImageCodec,
  bytes: Uint8Array,
  size: { readonly width: number; readonly height: number },
): Promise<RgbaImage> {
  let image: RgbaImage;
  try {
    image = await codec(bytes);
  } catch (cause) {
    // A decoder that cannot start is our fault, not the picture's.
    if (ServeError.is(cause)) throw cause;
    throw invalidImage('its pixels are damaged or incomplete.', cause);
  }
  const isWhole = image.data.length === size.width * size.height * 4;
  if (image.width !== size.width || image.height !== size.height || !isWhole) {
    throw invalidImage('its header and its pixels disagree about the size.');
  }
  return image;
}

function dropAlpha(image: RgbaImage): RgbImage {
  return placeOn(image.width, image.height, image, 0, 0);
}

/** Copies an image without its alpha onto a black canvas that it fits in. */
function placeOn(width: number, height: number, image: RgbaImage, x: number, y: number): RgbImage {
  const data = new Uint8Array(width * height * 3);
  const source = image.data;
  let from = 0;
  for (let row = 0; row < image.height; row += 1) {
    let at = ((y + row) * width + x) * 3;
    for (let column = 0; column < image.width; column += 1) {
      data[at] = source[from] as number;
      data[at + 1] = source[from + 1] as number;
      data[at + 2] = source[from + 2] as number;
      at += 3;
      from += 4;
    }
  }
  return { width, height, data };
}
