import type { Backend, DecodeEntry, ForwardStep, KvPage, PrefillChunk } from './backend.ts';

/**
 * One thing a backend was told, as plain JSON. What an engine does is the sequence of these: a
 * step's plan is the moves of rows and pages before it, then its forward.
 */
export type TraceEntry =
  | { readonly type: 'encode'; readonly image: number; readonly pixels: number }
  | { readonly type: 'truncate'; readonly row: number; readonly length: number }
  | {
      readonly type: 'copy';
      readonly from: number;
      readonly to: number;
      readonly length: number;
    }
  | { readonly type: 'swap'; readonly a: number; readonly b: number }
  | {
      readonly type: 'read';
      readonly row: number;
      readonly from: number;
      readonly to: number;
      readonly page: number;
    }
  | {
      readonly type: 'write';
      readonly row: number;
      readonly pages: readonly number[];
      readonly length: number;
      readonly keep: number;
    }
  | {
      readonly type: 'forward';
      readonly decode: readonly DecodeEntry[];
      readonly chunk: TraceChunk | null;
      /** Of the bits of all logits. */
      readonly digest: number;
    };

export interface TraceChunk {
  readonly row: number;
  readonly start: number;
  readonly tokens: readonly number[];
  /** Number of the encoding whose result stands here; null for text. */
  readonly image: number | null;
  readonly logits: PrefillChunk['logits'];
}

export interface ReplayResult {
  /** Index of the first forward whose logits differ; null when all are equal to the bit. */
  readonly firstDifference: number | null;
  readonly forwards: number;
}

export interface TracedBackend extends Backend {
  /** Pixels by digest, as encodings name them: what a replay cannot know otherwise. */
  readonly pixels: ReadonlyMap<number, Float32Array>;
}

/** Reports every call that changes rows or computes, once it has succeeded. */
export function traceBackend(
  backend: Backend,
  onEntry: (entry: TraceEntry) => void,
): TracedBackend {
  const pages = new WeakMap<KvPage, number>();
  const images = new WeakMap<Float32Array, number>();
  const pixelsByDigest = new Map<number, Float32Array>();
  let pageCount = 0;
  let imageCount = 0;

  const pageOf = (page: KvPage): number => {
    const known = pages.get(page);
    if (known === undefined) throw new RangeError('a page from elsewhere cannot be traced');
    return known;
  };

  const traced: Partial<Backend> & { pixels: TracedBackend['pixels'] } = {
    pixels: pixelsByDigest,
    async encodeImages(pixels, count, signal) {
      const embeddings = await backend.encodeImages(pixels, count, signal);
      const image = imageCount++;
      images.set(embeddings, image);
      const digest = digestOf(pixels);
      pixelsByDigest.set(digest, pixels);
      onEntry({ type: 'encode', image, pixels: digest });
      return embeddings;
    },
    async forward(step) {
      const result = await backend.forward(step);
      const { chunk } = step;
      onEntry({
        type: 'forward',
        decode: step.decode,
        chunk:
          chunk === null
            ? null
            : {
                ...chunk,
                tokens: Array.from(chunk.tokens),
                image: chunk.image === null ? null : (images.get(chunk.image) ?? null),
              },
        digest: digestOf(result.decode, result.chunk),
      });
      return result;
    },
    copyRow(from, to, length) {
      backend.copyRow(from, to, length);
      onEntry({ type: 'copy', from, to, length });
    },
    swapRows(a, b) {
      backend.swapRows(a, b);
      onEntry({ type: 'swap', a, b });
    },
    truncate(row, length) {
      const kept = backend.truncate(row, length);
      onEntry({ type: 'truncate', row, length });
      return kept;
    },
    async readKv(row, from, to) {
      const page = await backend.readKv(row, from, to);
      pages.set(page, pageCount);
      onEntry({ type: 'read', row, from, to, page: pageCount++ });
      return page;
    },
    async writeKv(row, given, length, keep) {
      const numbers = given.map(pageOf);
      await backend.writeKv(row, given, length, keep);
      onEntry({ type: 'write', row, pages: numbers, length, keep });
    },
  };
  // Everything else, getters included, is the backend's own.
  return Object.assign(Object.create(backend) as Backend, traced);
}

/**
 * Does to a fresh backend of the same model what a trace tells, and compares the logits.
 * @param pixels by digest; see {@link TracedBackend}
 * @throws what the backend throws; RangeError when the trace refers to what is not there
 */
export async function replayTrace(
  entries: readonly TraceEntry[],
  backend: Backend,
  pixels: ReadonlyMap<number, Float32Array> = new Map(),
): Promise<ReplayResult> {
  const pages = new Map<number, KvPage>();
  const images = new Map<number, Float32Array>();
  let forwards = 0;
  for (const [index, entry] of entries.entries()) {
    switch (entry.type) {
      case 'encode': {
        const found = required(pixels.get(entry.pixels), `pixels ${entry.pixels}`);
        images.set(entry.image, await backend.encodeImages(found, 1));
        break;
      }
      case 'truncate':
        backend.truncate(entry.row, entry.length);
        break;
      case 'copy':
        backend.copyRow(entry.from, entry.to, entry.length);
        break;
      case 'swap':
        backend.swapRows(entry.a, entry.b);
        break;
      case 'read':
        pages.set(entry.page, await backend.readKv(entry.row, entry.from, entry.to));
        break;
      case 'write': {
        const given = entry.pages.map((page) => required(pages.get(page), `page ${page}`));
        await backend.writeKv(entry.row, given, entry.length, entry.keep);
        break;
      }
      case 'forward': {
        const result = await backend.forward(toStep(entry, images));
        forwards++;
        if (digestOf(result.decode, result.chunk) !== entry.digest) {
          return { firstDifference: index, forwards };
        }
        break;
      }
      default:
        return entry satisfies never;
    }
  }
  return { firstDifference: null, forwards };
}

function toStep(
  { decode, chunk }: Extract<TraceEntry, { type: 'forward' }>,
  images: ReadonlyMap<number, Float32Array>,
): ForwardStep {
  if (chunk === null) return { decode, chunk };
  const image =
    chunk.image === null ? null : required(images.get(chunk.image), `image ${chunk.image}`);
  return { decode, chunk: { ...chunk, tokens: Int32Array.from(chunk.tokens), image } };
}

function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new RangeError(`the trace refers to ${what}, which is not there`);
  return value;
}

/** FNV-1a over the words of floats: tells accidents apart, not adversaries. */
function digestOf(...parts: readonly Float32Array[]): number {
  let hash = 0x811c9dc5;
  for (const part of parts) {
    const words = new Uint32Array(part.buffer, part.byteOffset, part.length);
    for (let at = 0; at < words.length; at++) {
      hash = Math.imul(hash ^ (words[at] ?? 0), 0x01000193) ^ (hash >>> 13);
    }
  }
  return hash >>> 0;
}
