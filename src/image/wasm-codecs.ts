import mozjpegDecoder from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js';
import { ServeError } from '../errors.ts';
import type { ImageCodec, RgbaImage } from './decode.ts';
import { decodeWebp } from './webp/webp-codec.ts';

/**
 * Reads one of the decoders' .wasm files: its bytes, or the compiled module where a runtime
 * compiles ahead and forbids it later (Cloudflare Workers).
 */
export type LoadWasm = () => Promise<Uint8Array<ArrayBuffer> | WebAssembly.Module>;

export interface WasmCodecsOptions {
  /** `@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm` */
  readonly jpeg: LoadWasm;
  /** `#webp-decoder.wasm` */
  readonly webp: LoadWasm;
}

/** mozjpeg of the jSquash package and libwebp, each loaded with its first picture and once. */
export function createWasmCodecs(options: WasmCodecsOptions): {
  readonly jpeg: ImageCodec;
  readonly webp: ImageCodec;
} {
  return {
    jpeg: createCodec('JPEG', options.jpeg, async (module) => {
      const decoder = (await mozjpegDecoder(emscriptenOptions(module))) as EmscriptenDecoder;
      // `false`: turning the picture upright is done once, for all formats, elsewhere.
      return (bytes) => wholePicture(decoder.decode(bytes, false));
    }),
    webp: createCodec('WebP', options.webp, async (module) => (bytes) => decodeWebp(module, bytes)),
  };
}

/**
 * Compiles a decoder once and starts it anew for each picture: one may leave it in any state, which the
 * next one, of somebody else, must not meet; and its memory, which never shrinks, goes with it.
 */
function createCodec(
  name: string,
  load: LoadWasm,
  start: (module: WebAssembly.Module) => Promise<(bytes: Uint8Array) => RgbaImage>,
): ImageCodec {
  let compiling: Promise<WebAssembly.Module> | null = null;

  async function started(): Promise<(bytes: Uint8Array) => RgbaImage> {
    try {
      compiling ??= compile(load);
      return await start(await compiling);
    } catch (cause) {
      compiling = null;
      throw new ServeError('internal', `The ${name} decoder could not be started.`, { cause });
    }
  }

  return async (bytes) => (await started())(bytes);
}

async function compile(load: LoadWasm): Promise<WebAssembly.Module> {
  const wasm = await load();
  return wasm instanceof WebAssembly.Module ? wasm : WebAssembly.compile(wasm);
}

/** The part of an Emscripten module in use; the package's own types name an undeclared namespace. */
interface EmscriptenDecoder {
  decode(bytes: Uint8Array, preserveOrientation: boolean): RgbaImage | null;
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

function wholePicture(image: RgbaImage | null): RgbaImage {
  if (image === null) throw new Error('The decoder gave no picture.');
  return image;
}
