import type { Completer } from '../completer.ts';
import { ServeError } from '../errors.ts';
import type { SessionControl } from './session.ts';

/** Runs `work` on a completer, which is loaded first if need be and not unloaded meanwhile. */
export type UseCompleter = <T>(
  work: (completer: Completer) => Promise<T>,
  signal: AbortSignal | undefined,
) => Promise<T>;

/** The sessions of a completer that may still have to be loaded. */
export function createLazySessions(use: UseCompleter): SessionControl {
  return {
    list: (tenant, page, signal) =>
      use((completer) => sessionsOf(completer).list(tenant, page, signal), signal),
    get: (tenant, id, signal) =>
      use((completer) => sessionsOf(completer).get(tenant, id, signal), signal),
    put: (tenant, id, change, signal) =>
      use((completer) => sessionsOf(completer).put(tenant, id, change, signal), signal),
    fork: (tenant, id, newId, signal) =>
      use((completer) => sessionsOf(completer).fork(tenant, id, newId, signal), signal),
    remove: (tenant, id, signal) =>
      use((completer) => sessionsOf(completer).remove(tenant, id, signal), signal),
  };
}

/** @throws ServeError not_found where sessions are not kept */
export function sessionsOf({ sessions }: Completer): SessionControl {
  if (sessions !== undefined) return sessions;
  throw new ServeError('not_found', 'This server keeps no sessions.');
}
