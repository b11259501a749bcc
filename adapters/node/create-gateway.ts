import type { Completer } from '../../src/completer.ts';
import type { Affinity } from '../../src/fleet/affinity.ts';
import { createMemorySessionTable } from '../../src/fleet/memory-sessions.ts';
import {
  createRemoteCompleter,
  type RemoteCompleterOptions,
} from '../../src/fleet/remote-completer.ts';
import type { UrlPolicy } from '../../src/image/safe-url.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { type BundlePlace, describeBundle } from './describe-bundle.ts';
import { closingPictures, createPicturePool, type PicturePoolOptions } from './pictures/pool.ts';
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
  /** What one picture may cost. */
  readonly pictures?: PicturePoolOptions;
  /** Which https URLs of pictures are fetched; default: any that are public; null none. */
  readonly imageUrls?: UrlPolicy | null;
}

/**
 * A completer over a fleet of replicas that run `gemlet serve --fleet-key`: hand it to `createApp`.
 * @throws RangeError for keys that are none
 * @example
 * const affinity = createPool({ replicas: ['http://10.0.0.1:8787'], clock: systemClock });
 * const completer = createGateway({ affinity, keys: [process.env.GEMLET_FLEET_KEY] });
 */
export function createGateway(options: GatewayOptions): Completer {
  const { bundle, imageUrls, pictures: cost = {}, ...rest } = options;
  const pictures = createPicturePool(cost);
  const completer = createRemoteCompleter({
    ...rest,
    sessions: createMemorySessionTable({ clock: systemClock }),
    clock: systemClock,
    prepare: pictures.prepare,
    ...(cost.limits === undefined ? {} : { imageLimits: cost.limits }),
    fetchUrl: imageUrls === null ? null : createNodeSafeFetch(imageUrls),
    fetch: createReplicaFetch(),
    ...(bundle === undefined
      ? {}
      : { describe: (signal: AbortSignal) => describeBundle(bundle, signal) }),
  });
  return closingPictures(completer, pictures);
}
