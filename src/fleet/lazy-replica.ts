import type { Completer } from '../completer.ts';
import { ServeError } from '../errors.ts';
import type { UseCompleter } from '../sessions/lazy-sessions.ts';
import type { ReplicaAccess } from './served-model.ts';

/** Streams from a completer that is loaded first if need be and not unloaded meanwhile. */
type StreamCompleter = <T>(
  open: (completer: Completer) => AsyncIterable<T>,
  signal?: AbortSignal,
) => AsyncIterable<T>;

/** What gateways ask of a completer that may still have to be loaded. */
export function createLazyReplica(use: UseCompleter, stream: StreamCompleter): ReplicaAccess {
  return {
    model: (signal) => use((completer) => accessOf(completer).model(signal), signal),
    vocabulary: (signal) => use((completer) => accessOf(completer).vocabulary(signal), signal),
    loadImage: (file, panAndScan, signal) =>
      use((completer) => accessOf(completer).loadImage(file, panAndScan, signal), signal),
    generate: (prompt, params, signal) =>
      stream((completer) => accessOf(completer).generate(prompt, params, signal), signal),
  };
}

function accessOf({ replica }: Completer): ReplicaAccess {
  if (replica !== undefined) return replica;
  throw new ServeError('not_found', 'This server cannot be a replica of a fleet.');
}
