import { createRequire } from 'node:module';
import { ServeError } from '../../src/errors.ts';

type Koffi = typeof import('koffi');

let loaded: Koffi | undefined;

/**
 * Loads the optional native-call library once. It ships prebuilt binaries, so no install script is
 * needed.
 * @throws ServeError backend_unavailable
 */
export function loadKoffi(): Koffi {
  if (loaded !== undefined) return loaded;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    // Session creation walks graphs recursively: the default stack of asynchronous calls is small.
    koffi.config({ async_stack_size: 4 * 1024 * 1024 });
    loaded = koffi;
    return koffi;
  } catch (cause) {
    throw new ServeError(
      'backend_unavailable',
      'The local engine needs the optional dependency "koffi", which is not installed. Run: npm install koffi@3.3.4 onnxruntime-node@1.30.0',
      { cause },
    );
  }
}
