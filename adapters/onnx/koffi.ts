import { createRequire } from 'node:module';
import type koffiModule from 'koffi';
import { ServeError } from '../../src/errors.ts';

type Koffi = typeof koffiModule;

let loaded: Koffi | undefined;

/**
 * Loads the optional native-call library once. It ships prebuilt binaries, so no install script is
 * needed.
 * @throws ServeError backend_unavailable
 */
export function loadKoffi(): Koffi {
  if (loaded !== undefined) return loaded;
  try {
    loaded = createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new ServeError(
      'backend_unavailable',
      `The local engine needs the optional dependency "koffi", which cannot be loaded (${cause instanceof Error ? cause.message.split('\n', 1).join('') : 'no reason given'}). Run: npm install koffi@3.3.4 @koromix/koffi-${process.platform}-${process.arch}@3.3.4`,
      { cause },
    );
  }
  try {
    // Session creation walks graphs recursively: the default stack of asynchronous calls is small.
    loaded.config({ async_stack_size: 4 * 1024 * 1024 });
  } catch {
    // Somebody in this process loaded a library first, and the sizes are fixed; the default works
    // for models of ordinary depth.
  }
  return loaded;
}
