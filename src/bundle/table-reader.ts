import { ServeError } from '../errors.ts';
import { runBounded } from '../lib/run-bounded.ts';
import { sha256Hex, type Sha256 } from '../lib/sha256-hex.ts';
import type { ObjectSource } from '../weights/object-source.ts';
import { partKey, type BundleTable } from './manifest.ts';
import { blockBytes, readRow } from './table-rows.ts';

/** The embedding table of a bundle: rows at once where their part is here, by small blocks before. */
export interface TableReader {
  /** Rows of `ids`, widened; a promise where something must be fetched first. */
  gather(ids: Int32Array, out: Float32Array, signal?: AbortSignal): Promise<void> | void;
  /** Fetches what is missing; parts stay. */
  loadAll(signal?: AbortSignal): Promise<void>;
  /** Visits all blocks in order, fetching what is missing. */
  eachBlock(
    visit: (block: Uint8Array, firstRow: number, rows: number) => void,
    signal?: AbortSignal,
  ): Promise<void>;
}

export interface TableReaderOptions {
  readonly source: ObjectSource;
  readonly table: BundleTable;
  readonly sha256?: Sha256 | undefined;
  /** Whole parts that arrived and are what the manifest says. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** Requests at once: blocks are small, so latency is what counts. */
const BLOCKS_AT_ONCE = 16;
const PARTS_AT_ONCE = 6;
/** A network that flips a bit once is asked again. */
const ATTEMPTS = 3;
const HASH_BYTES = 32;

export function createTableReader(options: TableReaderOptions): TableReader {
  const { source, table, onBytes, sha256 = sha256Hex } = options;
  const { rows, columns, blockRows, blocksPerPart } = table;
  const blockCount = Math.ceil(rows / blockRows);
  const fullBlockBytes = blockBytes(table, blockRows);
  /** Whole parts. */
  const parts = new Map<number, Uint8Array>();
  /** Blocks of parts that are not here yet. */
  const blocks = new Map<number, Uint8Array>();
  let hashes: Promise<Uint8Array> | null = null;

  const rowsOf = (block: number): number => Math.min(blockRows, rows - block * blockRows);

  function blockAt(block: number): Uint8Array | undefined {
    const part = parts.get(Math.floor(block / blocksPerPart));
    if (part === undefined) return blocks.get(block);
    const start = (block % blocksPerPart) * fullBlockBytes;
    return part.subarray(start, start + blockBytes(table, rowsOf(block)));
  }

  async function fetchVerified(
    key: string,
    offset: number,
    sizeBytes: number,
    wholeBytes: number,
    expected: string,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    const bytes = new Uint8Array(sizeBytes);
    source.expect?.(key, { sizeBytes: wholeBytes, etag: null });
    for (let attempt = 1; ; attempt++) {
      await source.read(key, offset, bytes, signal);
      if ((await sha256(bytes)) === expected) break;
      if (attempt < ATTEMPTS) continue;
      throw new ServeError(
        'weights_unavailable',
        `${source.name}: ${key} does not hold the bytes that the manifest promises. Run gemlet verify on the bundle, and pack it again.`,
      );
    }
    return bytes;
  }

  function blockHashes(): Promise<Uint8Array> {
    const { key, sizeBytes, sha256: expected } = table.blockHashes;
    hashes ??= fetchVerified(key, 0, sizeBytes, sizeBytes, expected).catch((error: unknown) => {
      hashes = null;
      throw error;
    });
    return hashes;
  }

  async function fetchBlock(block: number, signal?: AbortSignal): Promise<void> {
    const list = await blockHashes();
    const index = Math.floor(block / blocksPerPart);
    const part = table.parts[index];
    if (part === undefined) throw new RangeError(`no block ${block}`);
    const expected = hexOf(list.subarray(block * HASH_BYTES, (block + 1) * HASH_BYTES));
    const start = (block % blocksPerPart) * fullBlockBytes;
    const sizeBytes = blockBytes(table, rowsOf(block));
    const bytes = await fetchVerified(
      partKey(part),
      start,
      sizeBytes,
      part.sizeBytes,
      expected,
      signal,
    );
    if (!parts.has(index)) blocks.set(block, bytes);
  }

  async function fetchPart(index: number, signal?: AbortSignal): Promise<void> {
    const part = table.parts[index];
    if (part === undefined || parts.has(index)) return;
    const { sizeBytes } = part;
    const bytes = await fetchVerified(partKey(part), 0, sizeBytes, sizeBytes, part.sha256, signal);
    parts.set(index, bytes);
    onBytes?.(part.sizeBytes);
    for (let block = 0; block < blocksPerPart; block++)
      blocks.delete(index * blocksPerPart + block);
  }

  function copyRows(ids: Int32Array, out: Float32Array): void {
    for (const [at, id] of ids.entries()) {
      if (at > 0 && id === ids[at - 1]) {
        out.copyWithin(at * columns, (at - 1) * columns, at * columns);
        continue;
      }
      const block = Math.floor(id / blockRows);
      const bytes = blockAt(block);
      if (bytes === undefined) throw new RangeError(`block ${block} is not here`);
      readRow(table, bytes, rowsOf(block), id % blockRows, out, at * columns);
    }
  }

  function loadAll(signal?: AbortSignal): Promise<void> {
    return runBounded(
      table.parts.length,
      PARTS_AT_ONCE,
      (at, partSignal) => fetchPart(at, partSignal),
      signal,
    );
  }

  return {
    gather(ids, out, signal) {
      signal?.throwIfAborted();
      if (out.length !== ids.length * columns) {
        throw new RangeError(`${ids.length} embeddings need ${ids.length * columns} values`);
      }
      const missing = new Set<number>();
      for (const id of ids) {
        if (id < 0 || id >= rows) throw new RangeError(`token id ${id} is not in 0..${rows - 1}`);
        const block = Math.floor(id / blockRows);
        if (blockAt(block) === undefined) missing.add(block);
      }
      if (missing.size === 0) return copyRows(ids, out);
      const list = [...missing];
      return runBounded(
        list.length,
        BLOCKS_AT_ONCE,
        (at, blockSignal) => fetchBlock(list[at] ?? 0, blockSignal),
        signal,
      ).then(() => copyRows(ids, out));
    },
    loadAll,
    async eachBlock(visit, signal) {
      await loadAll(signal);
      for (let block = 0; block < blockCount; block++) {
        const bytes = blockAt(block);
        if (bytes !== undefined) visit(bytes, block * blockRows, rowsOf(block));
      }
    },
  };
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
