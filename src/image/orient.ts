import type { RgbImage } from './decode.ts';
import type { Orientation } from './exif.ts';

/**
 * Where each output pixel comes from: the source coordinate that output x and y walk along, and
 * whether backwards. Orientations from 5 on swap the axes.
 */
interface Turn {
  readonly swaps: boolean;
  readonly flipX: boolean;
  readonly flipY: boolean;
}

/** Flips are of the source's x and y. EXIF 2.32, section 4.6.4, table 4 "Orientation". */
const TURNS: Readonly<Record<Orientation, Turn>> = {
  1: { swaps: false, flipX: false, flipY: false },
  2: { swaps: false, flipX: true, flipY: false },
  3: { swaps: false, flipX: true, flipY: true },
  4: { swaps: false, flipX: false, flipY: true },
  5: { swaps: true, flipX: false, flipY: false },
  6: { swaps: true, flipX: false, flipY: true },
  7: { swaps: true, flipX: true, flipY: true },
  8: { swaps: true, flipX: true, flipY: false },
};

/** Turns and mirrors a picture upright, as PIL's `ImageOps.exif_transpose`. */
export function applyOrientation(image: RgbImage, orientation: Orientation): RgbImage {
  if (orientation === 1) return image;
  const { swaps, flipX, flipY } = TURNS[orientation];
  const width = swaps ? image.height : image.width;
  const height = swaps ? image.width : image.height;
  const source = image.data;
  const data = new Uint8Array(source.length);
  // Pixels between one source column, or row, and the next in walking order.
  const alongX = flipX ? -1 : 1;
  const alongY = flipY ? -image.width : image.width;
  const origin = (flipX ? image.width - 1 : 0) + (flipY ? (image.height - 1) * image.width : 0);
  const stepX = swaps ? alongY : alongX;
  const stepY = swaps ? alongX : alongY;
  let at = 0;
  for (let y = 0; y < height; y += 1) {
    let from = (origin + y * stepY) * 3;
    for (let x = 0; x < width; x += 1) {
      data[at] = source[from] as number;
      data[at + 1] = source[from + 1] as number;
      data[at + 2] = source[from + 2] as number;
      at += 3;
      from += stepX * 3;
    }
  }
  return { width, height, data };
}
