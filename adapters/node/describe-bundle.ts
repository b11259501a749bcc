import { describeFromFiles, type FleetModel } from '../../src/fleet/describe-model.ts';
import { openModelSource } from './open-source.ts';

/** A bundle that holds the model which somebody else serves; see `gemlet pack`. */
export interface BundlePlace {
  /** Folder, s3:// or https://. */
  readonly where: string;
  /** What clients call the model; default: the bundle's name. */
  readonly id?: string;
  /** Longest prompt plus completion there, in tokens; default 8192. */
  readonly contextTokens?: number;
}

export const DEFAULT_CONTEXT_TOKENS = 8192;

/** @throws ServeError weights_unavailable, invalid_checkpoint, unsupported_model */
export async function describeBundle(
  { where, id, contextTokens }: BundlePlace,
  signal?: AbortSignal,
): Promise<FleetModel> {
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
