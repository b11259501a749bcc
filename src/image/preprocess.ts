import type { PreparedImage } from '../engine/engine.ts';
import type { RgbImage } from './decode.ts';
import type { ImageConfig } from './image-config.ts';
import { panAndScan, type Rectangle } from './pan-and-scan.ts';
import { resizeBilinear } from './resize.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';

/**
 * Crops and resizes a picture to what the vision tower takes: the whole picture first, then its
 * crops when `crop` is set and the picture is wide or tall enough. The aspect ratio is not kept.
 */
export async function preprocess(
  image: RgbImage,
  config: ImageConfig,
  crop: boolean = config.panAndScan.always,
  signal?: AbortSignal,
): Promise<PreparedImage[]> {
  const whole: Rectangle = { x: 0, y: 0, width: image.width, height: image.height };
  const crops = crop ? panAndScan(image.width, image.height, config.panAndScan) : [];
  const prepared: PreparedImage[] = [];
  for (const part of [whole, ...crops]) {
    signal?.throwIfAborted();
    const rgb = resizeBilinear(image, config.imageSize, config.imageSize, part);
    prepared.push({ rgb, sha256: await sha256Hex(rgb) });
  }
  return prepared;
}

/**
 * Turns prepared images into the vision tower's input.
 * @returns [images.length, 3, size, size], RGB, (x * rescale - mean) / std
 */
export function toPixels(images: readonly PreparedImage[], config: ImageConfig): Float32Array {
  const plane = config.imageSize * config.imageSize;
  const pixels = new Float32Array(images.length * 3 * plane);
  const tables = config.mean.map((_, channel) => channelTable(config, channel));
  images.forEach((image, index) => {
    if (image.rgb.length !== plane * 3) {
      throw new RangeError(
        `A prepared image of ${image.rgb.length} bytes is not ${config.imageSize} pixels square.`,
      );
    }
    tables.forEach((table, channel) => {
      const start = (index * 3 + channel) * plane;
      for (let i = 0; i < plane; i += 1) {
        pixels[start + i] = table[image.rgb[i * 3 + channel] as number] as number;
      }
    });
  });
  return pixels;
}

/**
 * The value of each byte, rounded where the reference processor rounds: rescaled in float64, then
 * float32 before the mean is taken off and again before the division.
 */
function channelTable(config: ImageConfig, channel: number): Float32Array {
  const mean = Math.fround(config.mean[channel] as number);
  const std = Math.fround(config.std[channel] as number);
  return Float32Array.from({ length: 256 }, (_, value) => {
    const rescaled = Math.fround(value * config.rescaleFactor);
    return Math.fround(rescaled - mean) / std;
  });
}
