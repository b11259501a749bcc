import type { Completer } from '../../src/completer.ts';
import type { Affinity } from '../../src/fleet/affinity.ts';
import { describeFromFiles } from '../../src/fleet/describe-model.ts';
import { createMemorySessionTable } from '../../src/fleet/memory-sessions.ts';
import {
  createRemoteCompleter,
  type RemoteCompleterOptions,
} from '../../src/fleet/remote-completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createNodeImageDecoder } from './image-decoder.ts';
import { openModelSource } from './open-source.ts';
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
  readonly bundle?: {
    readonly where: string;
    /** What clients call the model; default: the bundle's name. */
    readonly id?: string;
    /** Longest prompt plus completion of the replicas, in tokens; default 8192. */
    readonly contextTokens?: number;
  };
}

const DEFAULT_CONTEXT_TOKENS = 8192;

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
    ...(bundle === undefined
      ? {}
      : { describe: (signal: AbortSignal) => describeBundle(bundle, signal) }),
  });
}

async function describeBundle(
  { where, id, contextTokens }: NonNullable<GatewayOptions['bundle']>,
  signal: AbortSignal,
): ReturnType<typeof describeFromFiles> {
  const opened = openModelSource(where);
  try {
    return await describeFromFiles(
      opened.source,
      {
        id: id ?? opened.id,
        contextTokens: contextTokens ?? DEFAULT_CONTEXT_TOKENS,
        createdSeconds: Math.floor(Date.now() / 1000),
      },
      signal,
    );
  } finally {
    await opened.source.close();
  }
}
