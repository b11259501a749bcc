import type { PreparedImage } from '../engine/engine.ts';
import type { ImageDecoder } from './decode.ts';
import type { ImageConfig } from './image-config.ts';
import { preprocess } from './preprocess.ts';

/**
 * Makes of a picture's file what the engine takes: the whole picture, then its crops. The file was looked at
 * by `readImageHeader` before.
 * @throws ServeError invalid_image, image_too_large; the signal's reason on abort
 */
export type PreparePicture = (
  file: Uint8Array,
  config: ImageConfig,
  withCrops: boolean,
  signal?: AbortSignal,
) => Promise<readonly PreparedImage[]>;

/** Prepares pictures on the thread that asks: for runtimes that have no other. */
export function prepareWith(decoder: ImageDecoder): PreparePicture {
  return async (file, config, withCrops, signal) => {
    const image = await decoder.decode(file, signal);
    return preprocess(image, config, withCrops, signal);
  };
}
