import { describeFromFiles, type FleetModel } from '../../src/fleet/describe-model.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { R2BucketLike } from '../r2/r2-bucket.ts';
import { createR2Store } from '../r2/r2-store.ts';
import { createIsolateSlot } from './isolate-slot.ts';
import type { WorkerSettings } from './settings.ts';

export interface EdgeModelOptions extends Pick<
  WorkerSettings,
  'bundle' | 'modelId' | 'contextTokens'
> {
  readonly bucket: R2BucketLike;
  readonly clock: Clock;
}

/** Far more than reading some megabytes takes. */
const READ_MS = 10_000;

/**
 * Reads the model's description and vocabulary from its bundle in R2, once for all requests of an
 * isolate; a failure is forgotten.
 */
export function createEdgeModel(
  options: EdgeModelOptions,
): (signal: AbortSignal) => Promise<FleetModel> {
  const { bucket, bundle, clock, contextTokens, modelId } = options;
  const slot = createIsolateSlot(clock, READ_MS);
  let known: FleetModel | null = null;

  async function read(signal: AbortSignal): Promise<FleetModel> {
    // Of its own for each request, as are its signals.
    const source = createR2Store({ bucket, prefix: bundle, clock });
    try {
      const createdSeconds = Math.floor(clock.now() / 1_000);
      return await describeFromFiles(
        source,
        { id: modelId, contextTokens, createdSeconds },
        signal,
      );
    } finally {
      await source.close();
    }
  }

  return async (signal) =>
    known ??
    slot.run(async () => {
      known ??= await read(signal);
      return known;
    }, signal);
}
