import mozjpegDecoder from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
import webpDecoder from '@jsquash/webp/codec/dec/webp_dec.js';
import { ServeError } from '../errors.ts';
import type { ImageCodec, RgbaImage } from './decode.ts';

/**
 * Reads one of the decoders' .wasm files: its bytes, or the compiled module where a runtime
 * compiles ahead and forbids it later (Cloudflare Workers).
 */
export type LoadWasm = () => Promise<Uint8Array<ArrayBuffer> | WebAssembly.Module>;

export interface WasmCodecsOptions {
  /** `@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm` */
  readonly jpeg: LoadWasm;
  /** `@jsquash/webp/codec/dec/webp_dec.wasm` */
  readonly webp: LoadWasm;
}

/** One running copy of a decoder. */
interface WasmInstance {
  /** Decodes synchronously. After it has thrown, the instance must not be used again. */
  decode(bytes: Uint8Array): RgbaImage;
  /** Memory it holds now; WebAssembly memory never shrinks. */
  heapBytes(): number;
}

/** Bytes of memory up to which an instance is kept for the next picture. */
const KEPT_HEAP_BYTES = 64 * 1024 * 1024;

/** Decoders of the jSquash packages, each loaded with its first picture and once. */
export function createWasmCodecs(options: WasmCodecsOptions): {
  readonly jpeg: ImageCodec;
  readonly webp: ImageCodec;
} {
  return {
    jpeg: createCodec('JPEG', options.jpeg, async (module) => {
      const decoder = (await mozjpegDecoder(emscriptenOptions(module))) as EmscriptenDecoder;
      // `false`: turning the picture upright is done once, for all formats, elsewhere.
      return emscriptenInstance(decoder, (bytes) => decoder.decode(bytes, false));
    }),
    webp: createCodec('WebP', options.webp, async (module) => {
      const decoder = (await webpDecoder(emscriptenOptions(module))) as EmscriptenDecoder;
      return emscriptenInstance(decoder, (bytes) => decoder.decode(bytes));
    }),
  };
}

/**
 * Keeps one instance of a decoder. A damaged picture may leave it in any state, so a throw costs
 * it its life; a new one is made from the compiled module in well under a millisecond's work.
 */
function createCodec(
  name: string,
  load: LoadWasm,
  instantiate: (module: WebAssembly.Module) => Promise<WasmInstance>,
): ImageCodec {
  let module: Promise<WebAssembly.Module> | null = null;
  let current: Promise<WasmInstance> | null = null;

  async function start(): Promise<WasmInstance> {
    try {
      module ??= compile(load);
      return await instantiate(await module);
    } catch (cause) {
      module = null;
      current = null;
      throw new ServeError('internal', `The ${name} decoder could not be started.`, { cause });
    }
  }

  return async (bytes) => {
    current ??= start();
    const mine = current;
    const instance = await mine;
    let isReusable = false;
    try {
      const image = instance.decode(bytes);
      isReusable = instance.heapBytes() <= KEPT_HEAP_BYTES;
      return image;
    } finally {
      if (!isReusable && current === mine) current = null;
    }
  };
}

async function compile(load: LoadWasm): Promise<WebAssembly.Module> {
  const wasm = await load();
  return wasm instanceof WebAssembly.Module ? wasm : WebAssembly.compile(wasm);
}

/** The part of an Emscripten module in use; the packages' own types name an undeclared namespace. */
interface EmscriptenDecoder {
  readonly HEAPU8: Uint8Array;
  decode(bytes: Uint8Array, preserveOrientation?: boolean): RgbaImage | null;
}

function emscriptenOptions(module: WebAssembly.Module): Record<string, unknown> {
  return {
    noInitialRun: true,
    // A decoder's complaints about a user's file belong into the error, not onto the console.
    print(): void {},
    printErr(): void {},
    instantiateWasm(
      imports: WebAssembly.Imports,
      receive: (instance: WebAssembly.Instance) => void,
    ): WebAssembly.Exports {
      const instance = new WebAssembly.Instance(module, imports);
      receive(instance);
      return instance.exports;
    },
  };
}

function emscriptenInstance(
  instance: EmscriptenDecoder,
  decode: (bytes: Uint8Array) => RgbaImage | null,
): WasmInstance {
  return {
    decode(bytes: Uint8Array): RgbaImage {
      const image = decode(bytes);
      if (image === null) throw new Error('The decoder gave no picture.');
      return image;
    },
    heapBytes: () => instance.HEAPU8.byteLength,
  };
}
