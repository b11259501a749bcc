import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ServeError } from '../../src/errors.ts';

/** What gemlet is tested with. */
export const ORT_VERSION = '1.30.0';
/** Older ones lack what the graphs ask for. */
const OLDEST_USABLE_MINOR = 29;

/** What the package `onnxruntime-node` has libraries for. */
const PLATFORMS = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64', 'win32-arm64'];

/** Name of the library's file on this platform. */
export function libraryName(): string {
  if (process.platform === 'win32') return 'onnxruntime.dll';
  return process.platform === 'darwin' ? 'libonnxruntime.1.dylib' : 'libonnxruntime.so.1';
}

/** Folder of this platform's library inside the package `onnxruntime-node`. */
export function libraryFolder(): string {
  return `bin/napi-v6/${process.platform}/${process.arch}`;
}

/**
 * Where the library lies: where `GEMLET_ORT_LIBRARY` says, else in the package `onnxruntime-node`.
 * Null where that package is not installed, or only a version that somebody else wanted.
 * @throws ServeError backend_unavailable where there is no library for this platform
 */
export function findLibrary(): string | null {
  const named = process.env['GEMLET_ORT_LIBRARY'];
  if (named !== undefined && named !== '') return named;
  const installed = libraryInPackage();
  if (installed !== null || PLATFORMS.includes(`${process.platform}-${process.arch}`)) {
    return installed;
  }
  throw new ServeError(
    'backend_unavailable',
    `onnxruntime-node has no library for ${process.platform} ${process.arch}. Set GEMLET_ORT_LIBRARY to an ONNX Runtime 1.${OLDEST_USABLE_MINOR} or newer library.`,
  );
}

function libraryInPackage(): string | null {
  let manifest: string;
  try {
    manifest = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  } catch {
    return null;
  }
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { readonly version: string };
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < 1 || (major === 1 && minor < OLDEST_USABLE_MINOR)) return null;
  const path = join(dirname(manifest), libraryFolder(), libraryName());
  return existsSync(path) ? path : null;
}

/** @param why what was tried besides, as whole sentences */
export function libraryMissing(why: string, cause?: unknown): ServeError {
  return new ServeError(
    'backend_unavailable',
    `The local engine needs the package "onnxruntime-node", which is not installed (npm drops it where its install script cannot download CUDA, which gemlet does not use). ${why}Run: npm install --no-save --ignore-scripts onnxruntime-node@${ORT_VERSION}`,
    { cause },
  );
}
