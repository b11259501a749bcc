import type { PreparedImage } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import { createSemaphore } from '../lib/semaphore.ts';
import type { MessagePart } from '../prompt/messages.ts';
import { isDataUri, parseDataUri } from './data-uri.ts';
import {
  createDownloads,
  DEFAULT_DOWNLOAD_LIMITS,
  type DownloadLimits,
  type ReserveBytes,
} from './download-limits.ts';
import type { ImageConfig } from './image-config.ts';
import { withParam } from './image-error.ts';
import { originalViews } from './original-views.ts';
import type { PreparePicture } from './prepare-picture.ts';
import type { SafeFetch } from './safe-fetch.ts';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits, readImageHeader } from './sniff.ts';

export type ImagePart = Extract<MessagePart, { readonly type: 'image' }>;

/**
 * Gets, decodes and prepares the picture of one message part: itself first, then its crops.
 * @throws ServeError invalid_url, invalid_image, image_too_large, each with the part's `param`;
 *   the signal's reason on abort
 */
export type LoadImage = (part: ImagePart, signal?: AbortSignal) => Promise<Prepared>;

type Prepared = readonly PreparedImage[];

export interface ImageLoaderOptions {
  readonly prepare: PreparePicture;
  /** Fetches http(s) URLs; null refuses them and leaves data URIs. */
  readonly fetchUrl: SafeFetch | null;
  readonly config: ImageConfig;
  /** Should be those of `prepare`; `maxBytes` also holds for data URIs before they are decoded. */
  readonly limits?: ImageLimits;
  /**
   * Pixels above which a picture is not decoded here: its file goes to whoever computes. Needs an engine
   * that takes such images; by default all are decoded.
   */
  readonly maxDecodePixels?: number;
  /** Pictures decoded at once, over all requests; 2 by default. */
  readonly maxDecodes?: number;
  readonly downloads?: DownloadLimits;
}

/** Creates the one way from a message's image part to what the engine takes. */
export function createImageLoader(options: ImageLoaderOptions): LoadImage {
  const { prepare, fetchUrl, config } = options;
  const limits = options.limits ?? DEFAULT_IMAGE_LIMITS;
  const maxDecodePixels = options.maxDecodePixels ?? Number.POSITIVE_INFINITY;
  const decodes = createSemaphore(options.maxDecodes ?? 2);
  const downloads = createDownloads(options.downloads ?? DEFAULT_DOWNLOAD_LIMITS);

  async function download(
    url: string,
    part: ImagePart,
    reserve: ReserveBytes,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    if (fetchUrl === null) {
      throw new ServeError(
        'invalid_url',
        'Image URLs are not fetched here: send the image itself as a data URI, data:image/png;base64,...',
      );
    }
    return fetchUrl(url, {
      param: part.param,
      reserve,
      ...(signal === undefined ? {} : { signal }),
    });
  }

  function decode(file: Uint8Array, part: ImagePart, signal?: AbortSignal): Promise<Prepared> {
    const withCrops = part.panAndScan || config.panAndScan.always;
    const header = readImageHeader(file, limits);
    if (header.width * header.height > maxDecodePixels) {
      return originalViews(file, header, config, withCrops);
    }
    return prepare(file, config, withCrops, signal);
  }

  function load(part: ImagePart, signal?: AbortSignal): Promise<Prepared> {
    const { source } = part;
    if (source.type === 'url' && !isDataUri(source.url)) {
      return downloads.run(
        hostOf(source.url),
        signal,
        (reserve) => download(source.url, part, reserve, signal),
        (file) => decodes.run(async () => decode(file, part, signal), signal),
      );
    }
    return decodes.run(
      async () =>
        decode(
          source.type === 'url' ? parseDataUri(source.url, limits) : source.bytes,
          part,
          signal,
        ),
      signal,
    );
  }

  return async (part, signal) => {
    try {
      return await load(part, signal);
    } catch (error) {
      throw withParam(error, part.param);
    }
  };
}

/** What a malformed URL is is said by the fetch. */
function hostOf(url: string): string {
  try {
    return new URL(url).host;
  } catch {
    return '';
  }
}
