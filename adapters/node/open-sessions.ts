import type { LocalEngine } from '../../src/engine/local-engine.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createKeyedHash } from '../../src/lib/keyed-hash.ts';
import { createSessionRegistry, type SessionRegistry } from '../../src/sessions/registry.ts';
import type { EngineOptions } from './engine-settings.ts';
import { openModelStore } from './open-source.ts';
import { nodeHmac } from './sha256.ts';

/** Their contents stay in memory: 4 bytes a token. */
const DEFAULT_COUNT = 1000;

/** The named conversations of an engine; with a store they outlive the process. */
export function openSessions(engine: LocalEngine, options: EngineOptions): SessionRegistry {
  const { kvStore, kvStoreKey, sessionTtlMs } = options;
  return createSessionRegistry({
    store: kvStore === undefined ? null : openModelStore(kvStore, { isPrivate: true }),
    keyedHash: kvStoreKey === undefined ? null : createKeyedHash(kvStoreKey, 'sessions', nodeHmac),
    clock: systemClock,
    memory: engine,
    ...(sessionTtlMs === undefined ? {} : { ttlMs: sessionTtlMs }),
    quotaBytes: options.sessionQuotaBytes ?? null,
    quotaCount: options.sessionQuotaCount ?? DEFAULT_COUNT,
    onEvent: (event) => {
      if ('error' in event) options.onEvent?.({ type: 'kv-failed', error: event.error });
    },
  });
}
