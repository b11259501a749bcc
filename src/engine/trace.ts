import { digestBits, sameBits } from '../lib/float-bits.ts';
import type { Backend, DecodeEntry, ForwardStep, KvPage, PrefillChunk } from './backend.ts';

/**
 * One thing a backend did to its rows, as plain JSON. A step's plan is the moves of rows and pages
 * before it and its forward: the log of these is all an engine ever decided, and can be replayed.
 */
export type TraceEntry =
  | {
      readonly type: 'encode';
      /** Key in {@link TracedBackend.pixels}. */
      readonly pixels: number;
      /** Numbers given to the embeddings, one an image. */
      readonly images: readonly number[];
    }
  | {
      readonly type: 'truncate';
      readonly row: number;
      /** What was asked for. */
      readonly length: number;
      readonly kept: number;
    }
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
      /** Number given to the page. */
      readonly page: number;
    }
  | {
      readonly type: 'write';
      readonly row: number;
      readonly pages: readonly number[];
      /** Those of `pages` that this trace has not read; see {@link TracedBackend.foreignPages}. */
      readonly foreign: readonly number[];
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
  /** Number of the embedding; null for text, 'foreign' when it was not encoded in this trace. */
  readonly image: number | 'foreign' | null;
  readonly logits: PrefillChunk['logits'];
}

/** The backend that was given, and what a replay needs beside the entries. */
export interface TracedBackend extends Backend {
  /** Pixels of each encoding, by their digest or near it; equal ones are kept once. */
  readonly pixels: ReadonlyMap<number, Float32Array>;
  readonly foreignPages: ReadonlyMap<number, KvPage>;
}

export interface ReplayResult {
  /** Index of the first forward whose logits differ; null when all are equal to the bit. */
  readonly firstDifference: number | null;
  /** Forwards that were run. */
  readonly forwards: number;
}

/**
 * Reports every call that reads, moves or computes rows, once it has succeeded; calls that fail leave no
 * entry, except that a failed write which emptied its row is a truncation. Costs a pass over
 * the logits of every step, and keeps the pixels of all images.
 */
export function traceBackend(
  backend: Backend,
  onEntry: (entry: TraceEntry) => void,
): TracedBackend {
  const pixelsByKey = new Map<number, Float32Array>();
  const foreignPages = new Map<number, KvPage>();
  const pageNumbers = new WeakMap<KvPage, number>();
  /** By buffer and byte offset: callers cut their own views of what encodeImages returned. */
  const imageNumbers = new WeakMap<ArrayBufferLike, Map<number, number>>();
  let pageCount = 0;
  let imageCount = 0;

  function numberPage(page: KvPage): number {
    pageNumbers.set(page, pageCount);
    return pageCount++;
  }

  function numberImages(embeddings: Float32Array, count: number): number[] {
    const { buffer, byteOffset, byteLength } = embeddings;
    const known = imageNumbers.get(buffer) ?? new Map<number, number>();
    imageNumbers.set(buffer, known);
    return Array.from({ length: count }, (_, index) => {
      known.set(byteOffset + (index * byteLength) / count, imageCount);
      return imageCount++;
    });
  }

  function keepPixels(pixels: Float32Array): number {
    for (let key = digestBits(pixels); ; key = (key + 1) >>> 0) {
      const known = pixelsByKey.get(key);
      if (known !== undefined && !sameBits(known, pixels)) continue;
      if (known === undefined) pixelsByKey.set(key, pixels.slice());
      return key;
    }
  }

  function describeChunk(chunk: PrefillChunk): TraceChunk {
    const { row, start, tokens, image, logits } = chunk;
    return {
      row,
      start,
      tokens: Array.from(tokens),
      image:
        image === null
          ? null
          : (imageNumbers.get(image.buffer)?.get(image.byteOffset) ?? 'foreign'),
      logits,
    };
  }

  return {
    pixels: pixelsByKey,
    foreignPages,
    config: backend.config,
    rowCount: backend.rowCount,
    rowTokens: backend.rowTokens,
    chunkTokens: backend.chunkTokens,
    kvTokenBytes: backend.kvTokenBytes,
    length: (row) => backend.length(row),
    canCut: (row, length) => backend.canCut(row, length),
    async encodeImages(pixels, count, signal) {
      const embeddings = await backend.encodeImages(pixels, count, signal);
      const images = numberImages(embeddings, count);
      onEntry({ type: 'encode', pixels: keepPixels(pixels), images });
      return embeddings;
    },
    async forward(step) {
      const decode = step.decode.map(({ row, start, token }) => ({ row, start, token }));
      const chunk = step.chunk === null ? null : describeChunk(step.chunk);
      const logits = await backend.forward(step);
      onEntry({ type: 'forward', decode, chunk, digest: digestBits(logits.decode, logits.chunk) });
      return logits;
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
      onEntry({ type: 'truncate', row, length, kept });
      return kept;
    },
    async readKv(row, from, to) {
      const page = await backend.readKv(row, from, to);
      onEntry({ type: 'read', row, from, to, page: numberPage(page) });
      return page;
    },
    async writeKv(row, pages, length, keep) {
      const held = backend.length(row);
      try {
        await backend.writeKv(row, pages, length, keep);
      } catch (error) {
        if (held > 0 && backend.length(row) === 0) {
          onEntry({ type: 'truncate', row, length: 0, kept: 0 });
        }
        throw error;
      }
      const numbers = pages.map((page) => {
        const known = pageNumbers.get(page);
        if (known !== undefined) return known;
        const number = numberPage(page);
        foreignPages.set(number, page);
        return number;
      });
      const foreign = numbers.filter((number) => foreignPages.has(number));
      onEntry({ type: 'write', row, pages: numbers, foreign, length, keep });
    },
    close: () => backend.close(),
  };
}

/**
 * Does to a fresh backend of the same model and rows what a trace tells, and compares the logits up to
 * the first that differ.
 * @param pixels,foreignPages of the {@link TracedBackend}
 * @throws Error naming the entry that cannot be replayed, with the cause
 */
export async function replayTrace(
  entries: readonly TraceEntry[],
  backend: Backend,
  pixels: ReadonlyMap<number, Float32Array> = new Map(),
  foreignPages: ReadonlyMap<number, KvPage> = new Map(),
): Promise<ReplayResult> {
  const lastUses = lastUsesOfPages(entries);
  const pages = new Map(foreignPages);
  const images = new Map<number, Float32Array>();
  let forwards = 0;

  /** Returns false when the logits differ. */
  async function replay(entry: TraceEntry): Promise<boolean> {
    switch (entry.type) {
      case 'encode': {
        const found = required(pixels.get(entry.pixels), `pixels ${entry.pixels}`);
        const embeddings = await backend.encodeImages(found, entry.images.length);
        const size = embeddings.length / entry.images.length;
        for (const [index, image] of entry.images.entries()) {
          images.set(image, embeddings.subarray(index * size, (index + 1) * size));
        }
        return true;
      }
      case 'truncate': {
        // Cutting to what was kept, not to what was asked for: steps that failed are not replayed,
        // so a ring may still hold a window here that it had lost there.
        const kept = backend.truncate(entry.row, entry.kept);
        if (kept !== entry.kept) throw new RangeError(`kept ${kept} tokens, not ${entry.kept}`);
        return true;
      }
      case 'copy':
        backend.copyRow(entry.from, entry.to, entry.length);
        return true;
      case 'swap':
        backend.swapRows(entry.a, entry.b);
        return true;
      case 'read':
        pages.set(entry.page, await backend.readKv(entry.row, entry.from, entry.to));
        return true;
      case 'write': {
        const given = entry.pages.map((page) => required(pages.get(page), `page ${page}`));
        await backend.writeKv(entry.row, given, entry.length, entry.keep);
        return true;
      }
      case 'forward': {
        const logits = await backend.forward(toStep(entry, images));
        forwards++;
        return digestBits(logits.decode, logits.chunk) === entry.digest;
      }
      default:
        return entry satisfies never;
    }
  }

  for (const [index, entry] of entries.entries()) {
    try {
      if (!(await replay(entry))) return { firstDifference: index, forwards };
    } catch (error) {
      throw new Error(`entry ${index} (${entry.type}) cannot be replayed`, { cause: error });
    }
    // Pages are large: none stays longer than it is needed.
    for (const page of pagesOf(entry)) if (lastUses.get(page) === index) pages.delete(page);
  }
  return { firstDifference: null, forwards };
}

function pagesOf(entry: TraceEntry): readonly number[] {
  if (entry.type === 'read') return [entry.page];
  return entry.type === 'write' ? entry.pages : [];
}

function lastUsesOfPages(entries: readonly TraceEntry[]): ReadonlyMap<number, number> {
  const uses = new Map<number, number>();
  for (const [index, entry] of entries.entries()) {
    for (const page of pagesOf(entry)) uses.set(page, index);
  }
  return uses;
}

function toStep(
  { decode, chunk }: Extract<TraceEntry, { type: 'forward' }>,
  images: ReadonlyMap<number, Float32Array>,
): ForwardStep {
  if (chunk === null) return { decode, chunk };
  const { image } = chunk;
  const embedding =
    image === null
      ? null
      : required(image === 'foreign' ? undefined : images.get(image), `image ${image}`);
  return { decode, chunk: { ...chunk, tokens: Int32Array.from(chunk.tokens), image: embedding } };
}

function required<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new RangeError(`the trace refers to ${what}, which is not there`);
  return value;
}
