import type { Completer } from '../../src/completer.ts';
import type { Affinity } from '../../src/fleet/affinity.ts';
import { createMemorySessionTable } from '../../src/fleet/memory-sessions.ts';
import {
  createRemoteCompleter,
  type RemoteCompleterOptions,
} from '../../src/fleet/remote-completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type BundlePlace, describeBundle } from './describe-bundle.ts';
import { createNodeImageDecoder } from './image-decoder.ts';
import { createReplicaFetch } from './replica-fetch.ts';
import { createNodeSafeFetch } from './safe-fetch.ts';

export interface GatewayOptions extends Pick<
  RemoteCompleterOptions,
  'keys' | 'pollMs' | 'coldMs' | 'maxAttempts' | 'stallMs' | 'onEvent'
> {
  /** How replicas are reached: `createPool` for own ones, or the affinity of a platform. */
  readonly affinity: Affinity;
  /**
   * A bundle that holds the same model (see `gemlet pack`), so that prompts are prepared and refused while no
   * replica is up; left out, the replicas are asked what they serve.
   */
  readonly bundle?: BundlePlace;
}

/**
 * A completer over a fleet of replicas that run `gemlet serve --fleet-key`: hand it to `createApp`.
 * @throws RangeError for keys that are none
 * @example
 * const affinity = createPool({ replicas: ['http://10.0.0.1:8787'], clock: systemClock });
 * const completer = createGateway({ affinity, keys: [process.env.GEMLET_FLEET_KEY] });
 */
export function createGateway(options: GatewayOptions): Completer {
  const { bundle, ...rest } = options;
  return createRemoteCompleter({
    ...rest,
    sessions: createMemorySessionTable({ clock: systemClock }),
    clock: systemClock,
    decoder: createNodeImageDecoder(),
    fetchUrl: createNodeSafeFetch(),
    fetch: createReplicaFetch(),
    ...(bundle === undefined
      ? {}
      : { describe: (signal: AbortSignal) => describeBundle(bundle, signal) }),
  });
}
