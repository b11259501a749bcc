import type { RgbImage } from './decode.ts';
import type { Rectangle } from './pan-and-scan.ts';

/** Fraction bits of a weight in Pillow's 8-bit resampling: 32 less 8 for a pixel, less 2 spare. */
const WEIGHT_BITS = 22;
/** One half, so that the final shift rounds to nearest. */
const HALF = 1 << (WEIGHT_BITS - 1);

/**
 * Resizes the `crop` of an image (all of it when absent) to `width` x `height` exactly as Pillow's
 * antialiased BILINEAR does on 8-bit pixels, bit for bit; the aspect ratio is not kept.
 *
 * The two passes, horizontal first with its result rounded to 8 bits, and the fixed point weights
 * are Pillow's (src/libImaging/Resample.c); a float resize differs by one in many pixels.
 * @returns [height, width, 3], RGB, 0..255
 */
export function resizeBilinear(
  image: RgbImage,
  width: number,
  height: number,
  crop: Rectangle = { x: 0, y: 0, width: image.width, height: image.height },
): Uint8Array {
  const columns = resizeColumns(image, crop, width);
  return crop.height === height ? columns : resizeRows(columns, width, crop.height, height);
}

/** Which source pixels one output pixel is made of, and how much of each. */
interface Taps {
  /** First source pixel, per output pixel. */
  readonly start: Int32Array;
  /** How many, per output pixel. */
  readonly count: Int32Array;
  /** [output size, stride], fixed point with `WEIGHT_BITS`; a row sums to about 2^22. */
  readonly weights: Int32Array;
  readonly stride: number;
}

function triangleTaps(inputSize: number, outputSize: number): Taps {
  const scale = inputSize / outputSize;
  // Upscaling keeps the filter's width of one source pixel to each side.
  const support = Math.max(scale, 1);
  const inverse = 1 / support;
  const stride = Math.ceil(support) * 2 + 1;
  const start = new Int32Array(outputSize);
  const count = new Int32Array(outputSize);
  const weights = new Int32Array(outputSize * stride);
  const exact = new Float64Array(stride);
  for (let out = 0; out < outputSize; out += 1) {
    const center = (out + 0.5) * scale;
    const low = Math.max(0, Math.trunc(center - support + 0.5));
    const high = Math.min(inputSize, Math.trunc(center + support + 0.5));
    let sum = 0;
    for (let tap = 0; tap < high - low; tap += 1) {
      const weight = Math.max(0, 1 - Math.abs((tap + low - center + 0.5) * inverse));
      exact[tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < high - low; tap += 1) {
      const share = (exact[tap] as number) / sum;
      weights[out * stride + tap] = Math.trunc(share * (1 << WEIGHT_BITS) + 0.5);
    }
    start[out] = low;
    count[out] = high - low;
  }
  return { start, count, weights, stride };
}

/** @returns [crop.height, width, 3] */
function resizeColumns(image: RgbImage, crop: Rectangle, width: number): Uint8Array {
  const source = image.data;
  const output = new Uint8Array(crop.height * width * 3);
  const taps = triangleTaps(crop.width, width);
  const { start, count, weights, stride } = taps;
  let at = 0;
  for (let y = 0; y < crop.height; y += 1) {
    const rowStart = ((crop.y + y) * image.width + crop.x) * 3;
    if (crop.width === width) {
      output.set(source.subarray(rowStart, rowStart + width * 3), y * width * 3);
      continue;
    }
    for (let x = 0; x < width; x += 1) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let from = rowStart + (start[x] as number) * 3;
      const firstWeight = x * stride;
      const lastWeight = firstWeight + (count[x] as number);
      for (let tap = firstWeight; tap < lastWeight; tap += 1) {
        const weight = weights[tap] as number;
        red += (source[from] as number) * weight;
        green += (source[from + 1] as number) * weight;
        blue += (source[from + 2] as number) * weight;
        from += 3;
      }
      output[at] = toByte(red);
      output[at + 1] = toByte(green);
      output[at + 2] = toByte(blue);
      at += 3;
    }
  }
  return output;
}

/** @param source [inputHeight, width, 3] */
function resizeRows(
  source: Uint8Array,
  width: number,
  inputHeight: number,
  height: number,
): Uint8Array {
  const rowLength = width * 3;
  const output = new Uint8Array(height * rowLength);
  const { start, count, weights, stride } = triangleTaps(inputHeight, height);
  // Whole rows at a time: source and sums are read in the order they lie in memory.
  const sums = new Int32Array(rowLength);
  for (let y = 0; y < height; y += 1) {
    sums.fill(HALF);
    for (let tap = 0; tap < (count[y] as number); tap += 1) {
      const weight = weights[y * stride + tap] as number;
      const from = ((start[y] as number) + tap) * rowLength;
      for (let i = 0; i < rowLength; i += 1) {
        sums[i] = (sums[i] as number) + (source[from + i] as number) * weight;
      }
    }
    const at = y * rowLength;
    for (let i = 0; i < rowLength; i += 1) output[at + i] = toByte(sums[i] as number);
  }
  return output;
}

/** Rounded weights may sum to a little above one, so white can come out as 256. */
function toByte(sum: number): number {
  const value = sum >> WEIGHT_BITS;
  return value > 255 ? 255 : value;
}
