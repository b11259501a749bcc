import type { PromptImage } from '../engine/engine.ts';
import type { WireBlob } from './wire-call.ts';

/** What of a prompt's pictures travels beside the header, each once, in the header's order. */
export function callBlobs(
  images: readonly PromptImage[],
  isNeeded: (sha256: string) => boolean,
): { readonly blobs: readonly WireBlob[]; readonly bytes: readonly Uint8Array[] } {
  const found = new Map<string, Uint8Array>();
  for (const { image } of images) {
    const { original } = image;
    const name = original?.fileSha256 ?? image.sha256;
    if (isNeeded(name)) found.set(name, original?.file ?? image.rgb);
  }
  return {
    blobs: Array.from(found, ([sha256, { length }]) => ({ sha256, sizeBytes: length })),
    bytes: Array.from(found.values()),
  };
}
