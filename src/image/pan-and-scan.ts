import type { PanAndScanConfig } from './image-config.ts';

/** A part of a picture, in pixels from its top left corner. */
export interface Rectangle {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/**
 * The crops the reference processor makes of a wide or tall picture, left to right and top to
 * bottom; empty when it makes none. The last one may be smaller. The whole picture is not listed.
 */
export function panAndScan(
  width: number,
  height: number,
  config: Pick<PanAndScanConfig, 'minCropSize' | 'maxCrops' | 'minRatio'>,
): Rectangle[] {
  const isWide = width >= height;
  const [long, short] = isWide ? [width, height] : [height, width];
  if (long / short < config.minRatio) return [];
  const wanted = Math.min(Math.floor(long / short + 0.5), Math.floor(long / config.minCropSize));
  const count = Math.min(config.maxCrops, Math.max(2, wanted));
  const step = Math.ceil(long / count);
  if (Math.min(step, short) < config.minCropSize) return [];
  const crops: Rectangle[] = [];
  for (let index = 0; index < count; index += 1) {
    const start = step * index;
    const length = Math.min(step, long - start);
    // Rounding up may use the picture up before the last crop.
    if (length <= 0) break;
    crops.push(
      isWide
        ? { x: start, y: 0, width: length, height }
        : { x: 0, y: start, width, height: length },
    );
  }
  return crops;
}
