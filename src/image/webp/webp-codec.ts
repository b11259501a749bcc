import type { RgbaImage } from '../decode.ts';

/** What infra/codecs/webp.c gives; addresses are bytes from the memory's beginning, 0 for none. */
interface Decoder {
  readonly memory: WebAssembly.Memory;
  readonly allocate: (sizeBytes: number) => number;
  /** `size` is the address of two 32-bit numbers: width and height. */
  readonly decode: (file: number, sizeBytes: number, size: number) => number;
}

/**
 * Decodes a still WebP with libwebp, in memory of its own: what a picture did to the decoder ends with it.
 * @param module `webp-decoder.wasm`, compiled
 * @throws Error for a damaged picture; what WebAssembly traps with
 */
export function decodeWebp(module: WebAssembly.Module, bytes: Uint8Array): RgbaImage {
  const instance = new WebAssembly.Instance(module);
  const { memory, allocate, decode } = instance.exports as unknown as Decoder;
  const file = allocate(bytes.length) >>> 0;
  const size = allocate(8) >>> 0;
  if (file === 0 || size === 0) throw new Error('The decoder has no room for the file.');
  new Uint8Array(memory.buffer).set(bytes, file);
  const pixels = decode(file, bytes.length, size) >>> 0;
  if (pixels === 0) throw new Error('The decoder gave no picture.');
  const [width = 0, height = 0] = new Int32Array(memory.buffer, size, 2);
  // Nobody else has the memory: it goes with the picture, and nothing is copied.
  return { width, height, data: new Uint8Array(memory.buffer, pixels, width * height * 4) };
}
