import jpegModule from '@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm';
import webpModule from '#webp-decoder.wasm';
import { createImageDecoder, type ImageDecoder } from '../../src/image/decode.ts';
import { createWasmCodecs } from '../../src/image/wasm-codecs.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { createIsolateSlot } from './isolate-slot.ts';

/** Far more than a picture takes. */
const DECODE_MS = 5_000;

/**
 * An {@link ImageDecoder} for Workers, where WebAssembly is compiled ahead; CMYK JPEG is refused. One
 * picture is decoded at a time.
 */
export function createWorkerImageDecoder(clock: Clock): ImageDecoder {
  const decoder = createImageDecoder(
    createWasmCodecs({ jpeg: async () => jpegModule, webp: async () => webpModule }),
  );
  const slot = createIsolateSlot(clock, DECODE_MS);
  return { decode: (bytes, signal) => slot.run(() => decoder.decode(bytes, signal), signal) };
}
