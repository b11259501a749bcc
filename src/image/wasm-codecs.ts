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
  /** Decodes synchronously. */
  decode(bytes: Uint8Array): RgbaImage;
}

/** Decoders of the jSquash packages, each loaded with its first picture and once. */
export function createWasmCodecs(options: WasmCodecsOptions): {
  readonly jpeg: ImageCodec;
  readonly webp: ImageCodec;
} {
  return {
    jpeg: createCodec('JPEG', options.jpeg, async (module) => {
      const decoder = (await mozjpegDecoder(emscriptenOptions(module))) as EmscriptenDecoder;
      // `false`: turning the picture upright is done once, for all formats, elsewhere.
      return emscriptenInstance((bytes) => decoder.decode(bytes, false));
    }),
    webp: createCodec('WebP', options.webp, async (module) => {
      const decoder = (await webpDecoder(emscriptenOptions(module))) as EmscriptenDecoder;
      return emscriptenInstance((bytes) => decoder.decode(bytes));
    }),
  };
}

/**
 * Each picture gets an instance of its own, made from the compiled module in well under a millisecond: a picture
 * may leave its decoder in any state, which must not be the next caller's, and its memory never shrinks.
 */
function createCodec(
  name: string,
  load: LoadWasm,
  instantiate: (module: WebAssembly.Module) => Promise<WasmInstance>,
): ImageCodec {
  let module: Promise<WebAssembly.Module> | null = null;

  async function start(): Promise<WasmInstance> {
    try {
      module ??= compile(load);
      return await instantiate(await module);
    } catch (cause) {
      module = null;
      throw new ServeError('internal', `The ${name} decoder could not be started.`, { cause });
    }
  }

  return async (bytes) => (await start()).decode(bytes);
}

async function compile(load: LoadWasm): Promise<WebAssembly.Module> {
  const wasm = await load();
  return wasm instanceof WebAssembly.Module ? wasm : WebAssembly.compile(wasm);
}

/** The part of an Emscripten module in use; the packages' own types name an undeclared namespace. */
interface EmscriptenDecoder {
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

function emscriptenInstance(decode: (bytes: Uint8Array) => RgbaImage | null): WasmInstance {
  return {
    decode(bytes: Uint8Array): RgbaImage {
      const image = decode(bytes);
      if (image === null) throw new Error('The decoder gave no picture.');
      return image;
    },
  };
}
