import type { PreparedImage, PromptImage } from '../engine/engine.ts';
import { ServeError } from '../errors.ts';
import { sha256Hex } from '../lib/sha256-hex.ts';

/** Pixels and files of pictures that gateways sent, by SHA-256, so that they are sent once. */
export interface ReplicaImages {
  /**
   * Those of one call: what it was sent and what it found stays until it is over, however much it is.
   * @param scope whose they are: nobody finds what another one's calls left
   */
  begin(scope: string): CallImages;
}

export interface CallImages {
  /** @throws ServeError invalid_request when the bytes are not those of the hash */
  add(sha256: string, bytes: Uint8Array): Promise<void>;
  /** Of those that images need, the ones that are not here. */
  missing(images: readonly PromptImage[]): readonly string[];
  /**
   * The images with pixels in place.
   * @throws ServeError invalid_request when one is missing; what `loadImage` throws
   */
  fill(images: readonly PromptImage[], signal?: AbortSignal): Promise<readonly PromptImage[]>;
}

export interface ReplicaImagesOptions {
  /** Bytes to keep between calls, the least recently used go first. */
  readonly maxBytes: number;
  readonly loadImage: (
    file: Uint8Array,
    panAndScan: boolean,
    signal?: AbortSignal,
  ) => Promise<readonly PreparedImage[]>;
}

export function createReplicaImages({ maxBytes, loadImage }: ReplicaImagesOptions): ReplicaImages {
  const blobs = new Map<string, Uint8Array>();
  let size = 0;

  function recall(name: string): Uint8Array | undefined {
    const bytes = blobs.get(name);
    if (bytes === undefined) return undefined;
    blobs.delete(name);
    blobs.set(name, bytes);
    return bytes;
  }

  function keep(name: string, bytes: Uint8Array): void {
    if (blobs.has(name)) return;
    blobs.set(name, bytes);
    size += bytes.length;
    for (const [oldest, old] of blobs) {
      if (size <= maxBytes) break;
      blobs.delete(oldest);
      size -= old.length;
    }
  }

  function begin(scope: string): CallImages {
    const nameOf = (sha256: string): string => `${sha256} ${scope}`;
    const held = new Map<string, Uint8Array>();

    function find(sha256: string): Uint8Array | undefined {
      const bytes = held.get(sha256) ?? recall(nameOf(sha256));
      if (bytes !== undefined) held.set(sha256, bytes);
      return bytes;
    }

    function demand(sha256: string): Uint8Array {
      const bytes = find(sha256);
      if (bytes !== undefined) return bytes;
      throw new ServeError('invalid_request', `The image ${sha256} was not sent.`);
    }

    return {
      async add(sha256, bytes) {
        if ((await sha256Hex(bytes)) !== sha256) {
          throw new ServeError('invalid_request', `An image is not what its hash ${sha256} says.`);
        }
        held.set(sha256, bytes);
        keep(nameOf(sha256), bytes);
      },
      missing(images) {
        const names = images.map(({ image }) => image.original?.fileSha256 ?? image.sha256);
        return Array.from(new Set(names)).filter((name) => find(name) === undefined);
      },
      async fill(images, signal) {
        const views = new Map<string, Promise<readonly PreparedImage[]>>();
        const filled = images.map(async ({ position, image }): Promise<PromptImage> => {
          const { original, sha256 } = image;
          if (original === undefined) return { position, image: { rgb: demand(sha256), sha256 } };
          const { fileSha256, panAndScan, view, viewCount } = original;
          const key = `${fileSha256} ${panAndScan}`;
          const loading = views.get(key) ?? loadImage(demand(fileSha256), panAndScan, signal);
          views.set(key, loading);
          const loaded = await loading;
          const found = loaded[view];
          if (found !== undefined && loaded.length === viewCount) return { position, image: found };
          throw new ServeError(
            'invalid_request',
            `A picture gives ${loaded.length} views here, the gateway counted ${viewCount}.`,
          );
        });
        return Promise.all(filled);
      },
    };
  }

  return { begin };
}
