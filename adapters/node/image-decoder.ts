import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import {
  createImageDecoder,
  type ImageCodec,
  type ImageDecoder,
  type RgbaImage,
} from '../../src/image/decode.ts';
import type { ImageLimits } from '../../src/image/sniff.ts';
import { createWasmCodecs, type LoadWasm } from '../../src/image/wasm-codecs.ts';

/** jpeg-js refuses by itself what would need more; our pixel cap is far below it. */
const CMYK_MEMORY_MB = 2048;

/** An {@link ImageDecoder} for Node.js; each format's decoder loads with its first picture. */
export function createNodeImageDecoder(
  options: { readonly limits?: ImageLimits } = {},
): ImageDecoder {
  const codecs = createWasmCodecs({
    jpeg: wasmFile('@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm'),
    webp: wasmFile('#webp-decoder.wasm'),
  });
  return createImageDecoder({ ...codecs, cmykJpeg: decodeCmykJpeg, ...options });
}

function wasmFile(specifier: string): LoadWasm {
  return async () => {
    const path = createRequire(import.meta.url).resolve(specifier);
    return new Uint8Array(await readFile(path));
  };
}

/** In plain JavaScript: mozjpeg does not convert four components to RGB. */
const decodeCmykJpeg: ImageCodec = async (bytes): Promise<RgbaImage> => {
  const jpeg = await import('jpeg-js');
  return jpeg.default.decode(bytes, {
    useTArray: true,
    formatAsRGBA: true,
    tolerantDecoding: false,
    maxResolutionInMP: Number.POSITIVE_INFINITY,
    maxMemoryUsageInMB: CMYK_MEMORY_MB,
  });
};
