import { createSemaphore, type Semaphore } from '../lib/semaphore.ts';

/** What pictures' URLs may cost all requests together. */
export interface DownloadLimits {
  /** Pictures downloaded at once. */
  readonly maxDownloads: number;
  /** Of these, from one host: no server is to be flooded by way of this one. */
  readonly maxPerHost: number;
  /** Bytes of pictures that were fetched, or are about to be, and are not decoded yet. */
  readonly maxBytes: number;
}

export const DEFAULT_DOWNLOAD_LIMITS: DownloadLimits = {
  maxDownloads: 32,
  maxPerHost: 4,
  maxBytes: 128 * 2 ** 20,
};

/** Makes room for so many bytes before they are read; waits where there is none. */
export type ReserveBytes = (sizeBytes: number) => Promise<void>;

/** Room for downloads, over all requests. */
export interface Downloads {
  /**
   * Runs `use` once a download from this host may begin; its bytes count until it is over.
   * @throws the signal's reason when it aborts while waiting
   */
  run<T>(
    host: string,
    signal: AbortSignal | undefined,
    fetchFile: (reserve: ReserveBytes) => Promise<Uint8Array>,
    use: (file: Uint8Array) => Promise<T>,
  ): Promise<T>;
}

export function createDownloads(limits: DownloadLimits): Downloads {
  const places = createSemaphore(limits.maxDownloads);
  const hosts = new Map<string, { readonly places: Semaphore; users: number }>();
  let heldBytes = 0;
  /** In order of arrival. */
  const waiting = new Set<() => void>();

  const fits = (sizeBytes: number): boolean =>
    // One alone always may: a limit below the largest picture must not stop it for ever.
    heldBytes === 0 || heldBytes + sizeBytes <= limits.maxBytes;

  function free(sizeBytes: number): void {
    heldBytes -= sizeBytes;
    for (const look of waiting) look();
  }

  async function reserve(sizeBytes: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    if (waiting.size > 0 || !fits(sizeBytes)) {
      await new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          waiting.delete(look);
          signal?.removeEventListener('abort', abort);
        };
        const look = (): void => {
          const [first] = waiting;
          if (first !== look || !fits(sizeBytes)) return;
          leave();
          heldBytes += sizeBytes;
          resolve();
        };
        const abort = (): void => {
          leave();
          reject(signal?.reason);
          // Whoever stood behind may fit.
          for (const other of waiting) other();
        };
        waiting.add(look);
        signal?.addEventListener('abort', abort, { once: true });
      });
      return;
    }
    heldBytes += sizeBytes;
  }

  /** A place of the host; its semaphore lives as long as somebody uses it. */
  async function fromHost<T>(
    host: string,
    task: () => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    let known = hosts.get(host);
    if (known === undefined) {
      hosts.set(host, (known = { places: createSemaphore(limits.maxPerHost), users: 0 }));
    }
    known.users++;
    try {
      return await known.places.run(task, signal);
    } finally {
      if (--known.users === 0) hosts.delete(host);
    }
  }

  return {
    async run(host, signal, fetchFile, use) {
      let mineBytes = 0;
      const reserveMine = async (sizeBytes: number): Promise<void> => {
        await reserve(sizeBytes, signal);
        mineBytes += sizeBytes;
      };
      try {
        // A host's turn comes first: those who wait for a slow one must not take the places of all.
        const file = await fromHost(
          host,
          () => places.run(() => fetchFile(reserveMine), signal),
          signal,
        );
        return await use(file);
      } finally {
        if (mineBytes > 0) free(mineBytes);
      }
    },
  };
}
