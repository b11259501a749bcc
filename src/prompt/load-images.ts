import type { PreparedImage } from '../engine/engine.ts';
import { runBounded } from '../lib/run-bounded.ts';
import type { VisionConfig } from '../model/config.ts';
import type { ImagePart } from './messages.ts';

/**
 * Fetches, decodes and resizes one image: the image alone, or the image and then its crops when the
 * part asks for pan and scan and the shape calls for it. Must end soon after the signal aborts.
 */
export type LoadImage = (part: ImagePart, signal: AbortSignal) => Promise<readonly PreparedImage[]>;

/** So many of one request: it must not take the turns of all others. */
const MAX_AT_ONCE = 8;

/**
 * Loads all images, some at the same time. The first failure aborts the others and is what is thrown,
 * once none of them runs any more.
 * @returns one list per part, in order
 */
export async function loadImages(
  parts: readonly ImagePart[],
  loadImage: LoadImage,
  vision: VisionConfig,
  signal: AbortSignal | undefined,
): Promise<(readonly PreparedImage[])[]> {
  const loaded: (readonly PreparedImage[])[] = parts.map(() => []);
  const load = async (index: number, shared: AbortSignal): Promise<void> => {
    const part = parts[index];
    if (part === undefined) return;
    const images = await loadImage(part, shared);
    requireImages(images, vision);
    loaded[index] = images;
  };
  await runBounded(parts.length, MAX_AT_ONCE, load, signal);
  return loaded;
}

function requireImages(images: readonly PreparedImage[], vision: VisionConfig): void {
  const bytes = vision.imageSize * vision.imageSize * 3;
  if (images.length === 0) throw new RangeError('loadImage returned no image');
  for (const image of images) {
    if (image.rgb.length === bytes || image.original !== undefined) continue;
    throw new RangeError(
      `loadImage returned ${image.rgb.length} bytes, ` +
        `${vision.imageSize} x ${vision.imageSize} RGB pixels take ${bytes}`,
    );
  }
}
