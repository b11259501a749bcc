import { ServeError } from '../errors.ts';
import type { VisionConfig } from '../model/config.ts';

/** How pictures become the vision tower's input; from the checkpoint's `preprocessor_config.json`. */
export interface ImageConfig {
  /** Side of the square input, in pixels. */
  readonly imageSize: number;
  /** Multiplies 0..255 before mean and std; 1/255 in every known checkpoint. */
  readonly rescaleFactor: number;
  /** Per channel R, G, B, on the rescaled range. */
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly panAndScan: PanAndScanConfig;
}

export interface PanAndScanConfig {
  /** Crop every picture that qualifies, not only those whose message part asks for it. */
  readonly always: boolean;
  /** Crops with a shorter side, in pixels, are not made. */
  readonly minCropSize: number;
  /** Crops per picture at most; the whole picture comes on top. */
  readonly maxCrops: number;
  /** Longer side over shorter side from which a picture is cropped. */
  readonly minRatio: number;
}

/** PIL's BILINEAR: antialiased triangle filter, the only one Gemma 3 was trained with. */
const PIL_BILINEAR = 2;
/** Defaults of the reference processor, used where the file says null. */
const MIN_CROP_SIZE = 256;
const MAX_CROPS = 4;
const MIN_RATIO = 1.2;
const RESCALE_FACTOR = 1 / 255;

/**
 * Reads a parsed `preprocessor_config.json`; absent and null fields mean the reference's defaults.
 * @throws ServeError invalid_checkpoint (a field has the wrong form), unsupported_model (it asks
 *   for a pipeline other than Gemma 3's)
 */
export function parseImageConfig(json: unknown, vision: VisionConfig): ImageConfig {
  const fields = record(json, 'the file');
  checkPipeline(fields);
  const size = parseSize(fields['size'], vision.imageSize);
  if (size !== vision.imageSize) {
    throw new ServeError(
      'invalid_checkpoint',
      `preprocessor_config.json resizes to ${size} pixels a side, config.json says the vision tower takes ${vision.imageSize}: the two files belong to different checkpoints.`,
    );
  }
  return {
    imageSize: size,
    rescaleFactor: number(fields, 'rescale_factor', RESCALE_FACTOR, 0),
    mean: triple(fields, 'image_mean', -Infinity),
    std: triple(fields, 'image_std', 0),
    panAndScan: {
      always: flag(fields, 'do_pan_and_scan', false),
      minCropSize: number(fields, 'pan_and_scan_min_crop_size', MIN_CROP_SIZE, 0),
      maxCrops: number(fields, 'pan_and_scan_max_num_crops', MAX_CROPS, 0),
      minRatio: number(fields, 'pan_and_scan_min_ratio_to_activate', MIN_RATIO, 0),
    },
  };
}

function checkPipeline(fields: Readonly<Record<string, unknown>>): void {
  const resample = fields['resample'] ?? PIL_BILINEAR;
  if (resample !== PIL_BILINEAR) {
    throw new ServeError(
      'unsupported_model',
      `preprocessor_config.json asks for "resample": ${JSON.stringify(resample)}; only 2 (PIL BILINEAR), which Gemma 3 was trained with, is supported.`,
    );
  }
  for (const name of ['do_resize', 'do_rescale', 'do_normalize', 'do_convert_rgb']) {
    if (!flag(fields, name, true)) {
      throw new ServeError(
        'unsupported_model',
        `preprocessor_config.json says "${name}": false; Gemma 3's vision tower needs this step.`,
      );
    }
  }
}

function parseSize(value: unknown, fallback: number): number {
  if (value === undefined || value === null) return fallback;
  const size = record(value, '"size"');
  const height = number(size, 'height', 0, 0);
  const width = number(size, 'width', 0, 0);
  if (height !== width || !Number.isInteger(height)) {
    throw new ServeError(
      'unsupported_model',
      `preprocessor_config.json resizes to ${width}x${height}; Gemma 3's vision tower takes squares of whole pixels.`,
    );
  }
  return height;
}

function record(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ServeError(
      'invalid_checkpoint',
      `preprocessor_config.json: ${where} must be an object.`,
    );
  }
  return value as Record<string, unknown>;
}

function flag(fields: Readonly<Record<string, unknown>>, name: string, fallback: boolean): boolean {
  const value = fields[name] ?? fallback;
  if (typeof value !== 'boolean') throw malformed(name, value, 'true, false or null');
  return value;
}

/** A finite number above `above`. */
function number(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  fallback: number,
  above: number,
): number {
  const value = fields[name] ?? fallback;
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= above) {
    throw malformed(name, value, `a number above ${above}`);
  }
  return value;
}

/** Three finite numbers above `above`; [0.5, 0.5, 0.5] when absent. */
function triple(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  above: number,
): readonly [number, number, number] {
  const value = fields[name] ?? [0.5, 0.5, 0.5];
  const isFine =
    Array.isArray(value) &&
    value.length === 3 &&
    value.every((item) => typeof item === 'number' && Number.isFinite(item) && item > above);
  if (!isFine) throw malformed(name, value, 'three numbers, one per channel');
  return value as [number, number, number];
}

function malformed(name: string, value: unknown, wanted: string): ServeError {
  return new ServeError(
    'invalid_checkpoint',
    `preprocessor_config.json: "${name}" must be ${wanted}, got ${JSON.stringify(value)}.`,
  );
}
