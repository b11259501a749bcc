import type { PreparedImage } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import { createSemaphore } from '../lib/semaphore.ts';
import type { MessagePart } from '../prompt/messages.ts';
import { isDataUri, parseDataUri } from './data-uri.ts';
import type { ImageDecoder } from './decode.ts';
import type { ImageConfig } from './image-config.ts';
import { withParam } from './image-error.ts';
import { originalViews } from './original-views.ts';
import { preprocess } from './preprocess.ts';
import type { SafeFetch } from './safe-fetch.ts';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits, readImageHeader } from './sniff.ts';

export type ImagePart = Extract<MessagePart, { readonly type: 'image' }>;

/**
 * Gets, decodes and prepares the picture of one message part: itself first, then its crops.
 * @throws ServeError invalid_url, invalid_image, image_too_large, each with the part's `param`;
 *   the signal's reason on abort
 */
export type LoadImage = (part: ImagePart, signal?: AbortSignal) => Promise<PreparedImage[]>;

export interface ImageLoaderOptions {
  readonly decoder: ImageDecoder;
  /** Fetches http(s) URLs; null refuses them and leaves data URIs. */
  readonly fetchUrl: SafeFetch | null;
  readonly config: ImageConfig;
  /** Should be the decoder's; `maxBytes` also holds for data URIs before they are decoded. */
  readonly limits?: ImageLimits;
  /**
   * Pixels above which a picture is not decoded here: its file goes to whoever computes. Needs an engine
   * that takes such images; by default all are decoded.
   */
  readonly maxDecodePixels?: number;
  /** Pictures in memory at once, over all requests; 2 by default. Downloads are not counted. */
  readonly maxDecodes?: number;
}

/** Creates the one way from a message's image part to what the engine takes. */
export function createImageLoader(options: ImageLoaderOptions): LoadImage {
  const { decoder, fetchUrl, config } = options;
  const limits = options.limits ?? DEFAULT_IMAGE_LIMITS;
  const maxDecodePixels = options.maxDecodePixels ?? Number.POSITIVE_INFINITY;
  const decodes = createSemaphore(options.maxDecodes ?? 2);

  async function download(url: string, part: ImagePart, signal?: AbortSignal): Promise<Uint8Array> {
    if (fetchUrl === null) {
      throw new ServeError(
        'invalid_url',
        'Image URLs are not fetched here: send the image itself as a data URI, data:image/png;base64,...',
      );
    }
    return fetchUrl(url, { param: part.param, ...(signal === undefined ? {} : { signal }) });
  }

  async function load(part: ImagePart, signal?: AbortSignal): Promise<PreparedImage[]> {
    const { source } = part;
    const bytes =
      source.type === 'url' && !isDataUri(source.url)
        ? await download(source.url, part, signal)
        : null;
    return decodes.run(async () => {
      const file =
        bytes ?? (source.type === 'url' ? parseDataUri(source.url, limits) : source.bytes);
      const withCrops = part.panAndScan || config.panAndScan.always;
      const header = readImageHeader(file, limits);
      if (header.width * header.height > maxDecodePixels) {
        return originalViews(file, header, config, withCrops);
      }
      const image = await decoder.decode(file, signal);
      return preprocess(image, config, withCrops, signal);
    }, signal);
  }

  return async (part, signal) => {
    try {
      return await load(part, signal);
    } catch (error) {
      throw withParam(error, part.param);
    }
  };
}
