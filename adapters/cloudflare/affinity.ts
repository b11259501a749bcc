import type { Affinity } from '../../src/fleet/affinity.ts';
import { createCookieAffinity } from '../../src/fleet/cookie.ts';
import { createHashedHeader } from '../../src/fleet/hashed-header.ts';
import { createPool } from '../../src/fleet/pool.ts';
import { createTokenEcho } from '../../src/fleet/token-echo.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { WorkerSettings } from './settings.ts';

/** How this Worker's replicas are reached; its loads and failures are those that this isolate saw. */
export function affinityOf(settings: WorkerSettings, clock: Clock): Affinity {
  const { affinity, replicaHeaders: headers, replicas } = settings;
  const [url = ''] = replicas;
  switch (affinity) {
    case 'pool':
      return createPool({ replicas, headers, clock });
    case 'runpod':
      return createTokenEcho({ url, headers });
    case 'modal':
      return createHashedHeader({ url, headers });
    case 'baseten':
      return createHashedHeader({ url, headers, header: 'x-baseten-session-id' });
    case 'cookie':
      return createCookieAffinity({ url, headers, clock });
    default:
      return affinity satisfies never;
  }
}
