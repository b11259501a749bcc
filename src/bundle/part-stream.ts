import { ServeError } from '../errors.ts';
import { sha256Hex, type Sha256 } from '../lib/sha256-hex.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { partKey, type BundleStream } from './manifest.ts';

export interface PartStreamOptions {
  readonly source: ObjectSource;
  readonly stream: Pick<BundleStream, 'sizeBytes' | 'parts'>;
  /** Byte ranges that readers will ask for once each; parts are let go when they have been. */
  readonly ranges: readonly { readonly offset: number; readonly sizeBytes: number }[];
  /** Bytes that arrived and are what the manifest says. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  readonly sha256?: Sha256 | undefined;
  /** Parts on their way at once; default 6. */
  readonly inFlight?: number;
  /** Parts that landed or are on their way, and wait to be read; default 8. */
  readonly ahead?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The bytes of a bundle's stream, fetched ahead of its readers in order, verified as they land, and
 * forgotten when read. Readers that leave the order are served too, out of turn.
 */
export interface PartStream {
  /** Begins to fetch before anybody reads. */
  begin(): void;
  /**
   * Hands over bytes [offset, offset + sizeBytes) piece by piece, in any order.
   * @param take gets a piece, valid during the call only, and where it begins within the range
   * @throws ServeError weights_unavailable; the signal's reason
   */
  read(
    offset: number,
    sizeBytes: number,
    take: (bytes: Uint8Array, at: number) => void,
    signal?: AbortSignal,
  ): Promise<void>;
}

interface HeldPart {
  readonly buffer: Promise<Uint8Array>;
  /** Who waits for it or looks at it. */
  readers: number;
}

/** Memory kept for the next part. */
const SPARE_BUFFERS = 2;
/** A network that flips a bit once is asked again; a store that keeps wrong bytes is not. */
const ATTEMPTS = 3;

export function createPartStream(options: PartStreamOptions): PartStream {
  const { source, stream, signal, sha256 = sha256Hex } = options;
  const inFlightMost = options.inFlight ?? 6;
  const aheadMost = options.ahead ?? 8;
  const starts = startsOf(stream.parts);
  /** Bytes of each part that readers have yet to take. */
  const wanted = countWanted(starts, stream.parts, options.ranges);
  const held = new Map<number, HeldPart>();
  const spare: Uint8Array[] = [];
  let inFlight = 0;
  let next = 0;

  async function fetchPart(index: number): Promise<Uint8Array> {
    const part = stream.parts[index];
    if (part === undefined) throw new RangeError(`no part ${index}`);
    const key = partKey(part);
    inFlight++;
    try {
      // Its name is its content: nothing could have changed it.
      source.expect?.(key, { sizeBytes: part.sizeBytes, etag: null });
      const reused = spare.findIndex(({ length }) => length === part.sizeBytes);
      const [buffer = new Uint8Array(part.sizeBytes)] = reused < 0 ? [] : spare.splice(reused, 1);
      for (let attempt = 1; ; attempt++) {
        await source.read(key, 0, buffer, signal);
        if ((await sha256(buffer)) === part.sha256) break;
        if (attempt === ATTEMPTS) throw wrongBytes(source, key);
      }
      options.onBytes?.(part.sizeBytes);
      return buffer;
    } finally {
      inFlight--;
    }
  }

  function hold(index: number): HeldPart {
    const known = held.get(index);
    if (known !== undefined) return known;
    const part: HeldPart = { buffer: fetchPart(index), readers: 0 };
    held.set(index, part);
    part.buffer.then(pump, () => {
      // Whoever asks again gets another try.
      if (held.get(index) === part) held.delete(index);
    });
    return part;
  }

  /** Fetches ahead as far as room allows. */
  function pump(): void {
    for (; next < stream.parts.length; next++) {
      if (inFlight >= inFlightMost || held.size >= aheadMost) return;
      if ((wanted[next] ?? 0) > 0) hold(next);
    }
  }

  /** Lets a part go that nobody wants any more; its memory serves again once nobody looks at it. */
  function letGo(index: number, part: HeldPart, buffer: Uint8Array): void {
    if ((wanted[index] ?? 0) > 0 || part.readers > 0 || held.get(index) !== part) return;
    held.delete(index);
    if (spare.length < SPARE_BUFFERS) spare.push(buffer);
    pump();
  }

  async function readPart(
    index: number,
    from: number,
    to: number,
    take: (bytes: Uint8Array) => void,
  ): Promise<void> {
    const part = hold(index);
    pump();
    part.readers++;
    try {
      const buffer = await part.buffer;
      take(buffer.subarray(from, to));
      wanted[index] = (wanted[index] ?? 0) - (to - from);
    } finally {
      part.readers--;
    }
    letGo(index, part, await part.buffer);
  }

  return {
    begin: pump,
    async read(offset, sizeBytes, take, readSignal) {
      const end = offset + sizeBytes;
      if (sizeBytes === 0) return;
      for (let index = partAt(starts, offset); (starts[index] ?? end) < end; index++) {
        readSignal?.throwIfAborted();
        const start = starts[index] ?? 0;
        const from = Math.max(offset, start);
        const to = Math.min(end, start + (stream.parts[index]?.sizeBytes ?? 0));
        await readPart(index, from - start, to - start, (bytes) => take(bytes, from - offset));
      }
    },
  };
}

function wrongBytes(source: ObjectSource, key: string): ServeError {
  return new ServeError(
    'weights_unavailable',
    `${source.name}: ${key} does not hold the bytes that the manifest promises. Run gemlet verify on the bundle, and pack it again.`,
  );
}

function startsOf(parts: readonly { readonly sizeBytes: number }[]): number[] {
  let end = 0;
  return parts.map(({ sizeBytes }) => {
    end += sizeBytes;
    return end - sizeBytes;
  });
}

/** The last part that begins at or before `offset`. */
function partAt(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}

function countWanted(
  starts: readonly number[],
  parts: readonly { readonly sizeBytes: number }[],
  ranges: PartStreamOptions['ranges'],
): number[] {
  const wanted = parts.map(() => 0);
  for (const { offset, sizeBytes } of ranges) {
    const end = offset + sizeBytes;
    for (let index = partAt(starts, offset); (starts[index] ?? end) < end; index++) {
      const start = starts[index] ?? 0;
      const to = Math.min(end, start + (parts[index]?.sizeBytes ?? 0));
      wanted[index] = (wanted[index] ?? 0) + to - Math.max(offset, start);
    }
  }
  return wanted;
}
