import { createCountedSource } from '../weights/counted-source.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { openCheckpoint, type OpenedCheckpoint } from '../weights/open-checkpoint.ts';
import { readManifest } from './manifest.ts';
import { openBundle, type BundleOptions } from './open-bundle.ts';

/**
 * Opens what a source holds, a bundle or a Hugging Face checkpoint. Takes over `source`: it is closed
 * with the checkpoint, or when opening fails.
 * @throws ServeError unsupported_model, invalid_checkpoint, weights_unavailable
 */
export async function openModel(
  source: ObjectSource,
  options: BundleOptions = {},
): Promise<OpenedCheckpoint> {
  try {
    const manifest = await readManifest(source, options.signal);
    if (manifest !== null) return await openBundle(source, manifest, options);
  } catch (error) {
    await source.close();
    throw error;
  }
  const { onProgress } = options;
  if (onProgress === undefined) return openCheckpoint(source, options.signal);
  let loadedBytes = 0;
  let totalBytes: number | null = null;
  const counted = createCountedSource(source, (bytes) => {
    if (totalBytes === null) return;
    loadedBytes += bytes;
    onProgress(Math.min(loadedBytes, totalBytes), totalBytes);
  });
  const checkpoint = await openCheckpoint(counted, options.signal);
  totalBytes = bytesBeforeFirstToken(checkpoint);
  return checkpoint;
}

/** All but the vision tower, which is read with the first image. */
function bytesBeforeFirstToken({ tensors }: OpenedCheckpoint): number {
  let bytes = 0;
  for (const [name, { sizeBytes }] of tensors) {
    if (!name.startsWith('vision.') && !name.startsWith('projector.')) bytes += sizeBytes;
  }
  return bytes;
}
