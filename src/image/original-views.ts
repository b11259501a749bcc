import type { PreparedImage } from '../engine/engine.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';
import type { ImageConfig } from './image-config.ts';
import { panAndScan } from './pan-and-scan.ts';

/**
 * The views that `preprocess` would make of a picture, without making them: each stands for pixels that
 * whoever computes makes of the file.
 * @param width in pixels, as stored; turning the picture upright changes no count
 */
export async function originalViews(
  file: Uint8Array,
  { width, height }: { readonly width: number; readonly height: number },
  config: ImageConfig,
  withCrops: boolean,
): Promise<PreparedImage[]> {
  const viewCount = 1 + (withCrops ? panAndScan(width, height, config.panAndScan).length : 0);
  const fileSha256 = await sha256Hex(file);
  const views = Array.from({ length: viewCount }, async (_, view): Promise<PreparedImage> => {
    const name = `${fileSha256} ${withCrops} ${view}`;
    return {
      rgb: new Uint8Array(0),
      sha256: await sha256Hex(new TextEncoder().encode(name)),
      original: { file, fileSha256, panAndScan: withCrops, view, viewCount },
    };
  });
  return Promise.all(views);
}
