import type { EngineEvent } from '../../src/engine/local-engine.ts';
import { ringCapacity } from '../../src/engine/row-ring.ts';
import type { UrlPolicy } from '../../src/image/safe-url.ts';
import { memoryTable, type MemoryTable } from '../../src/model/memory.ts';
import type { OpenedCheckpoint } from '../../src/weights/open-checkpoint.ts';
import { ringOptionsFor } from '../onnx/ring-options.ts';
import type { PicturePoolOptions } from './pictures/pool.ts';
import { availableBytes, KV_PAGES_PART } from './memory-fit.ts';

export interface EngineOptions {
  /** `demo` (default), a folder, `hf:org/name[@revision]`, or an https URL of a folder. */
  readonly model?: string;
  /** What clients call it; by default the folder's or repository's name. */
  readonly id?: string;
  /** Read token for private and gated repositories of the Hugging Face hub. */
  readonly token?: string;
  /** `fast` (default) rounds activations to int8 per block of 32; `exact` computes in fp32. */
  readonly precision?: 'exact' | 'fast';
  /** How the output head is kept; default float in `exact`, in `fast` as a bundle stores it, else int8. */
  readonly head?: 'int8' | 'int4' | 'float';
  /** Longest prompt plus completion, in tokens; default 8192 or the model's own limit. */
  readonly contextTokens?: number;
  /** Sequences that run at once; default 4. */
  readonly slots?: number;
  /** Requests that may wait for a slot; default 64. */
  readonly maxWaiting?: number;
  /** Answers of one API key that may run and wait; default as many as slots and queue take. */
  readonly maxPerTenant?: number;
  /** Milliseconds after which an answer is given up whose reader takes nothing; default 60,000; Infinity never. */
  readonly stallMs?: number;
  /**
   * Bytes of host memory for keys and values of conversations that lost their slot; default a quarter
   * of the memory that the model leaves, at most 8 GiB. 0 keeps none: such turns are computed again.
   */
  readonly kvBudgetBytes?: number;
  /**
   * Where keys and values outlive this process: a folder or `s3://bucket/prefix`. Every turn is written
   * there when it ends, and read back by whatever replica of the same model and kind needs it.
   */
  readonly kvStore?: string;
  /**
   * 16 characters or more: what lies in `kvStore` proves that a server with this key wrote it, and names tell
   * nothing to who guesses. Without one only damage is found. Servers with other keys do not see each other's pages.
   */
  readonly kvStoreKey?: string;
  /**
   * `exact` (default) restores to the bit; `int8` stores a quarter of the bytes, and answers may then differ
   * where tokens are nearly equal. Neither reads what the other wrote.
   */
  readonly kvStoreFormat?: 'exact' | 'int8';
  /** Whether what the store holds is restored always, or where measured rates say that it is `faster` (default). */
  readonly kvRestore?: 'faster' | 'always';
  /**
   * Bytes that all pages in `kvStore` may take; default 64 GiB, and at most half of a folder's disk. 0 is any.
   * When they are full the least recently used go, of the API key with most.
   */
  readonly kvStoreBytes?: number;
  /** Days without use after which pages of `kvStore` are removed; default 7, 0 never. */
  readonly kvKeepDays?: number;
  /** Milliseconds that a named conversation is kept after its last turn; default 24 hours. */
  readonly sessionTtlMs?: number;
  /** Bytes of host memory and store that a tenant's named conversations may take; default any. */
  readonly sessionQuotaBytes?: number;
  /** Named conversations of a tenant, the least recently used go first; default 1000. */
  readonly sessionQuotaCount?: number;
  /** Milliseconds that prompt work may hold up running answers in one step; default 250. */
  readonly prefillBudgetMs?: number;
  /**
   * While one answer runs alone, guesses its next tokens from what stands in its conversation and checks
   * several in one step; stops by itself where that loses. Same choices, other rounding. Default off.
   */
  readonly speculates?: boolean;
  /** What one picture may cost. */
  readonly pictures?: PicturePoolOptions;
  /** Which https URLs of pictures are fetched; default: any that are public; null none. */
  readonly imageUrls?: UrlPolicy | null;
  /** Observes the engine; must not throw. */
  readonly onEvent?: (event: EngineEvent) => void;
  /** Told while the model loads: bytes there, and bytes in all where that is known; must not throw. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number | null) => void;
  /** Compute threads; default all that the process may use. */
  readonly threads?: number;
  /** Aborts the load. */
  readonly signal?: AbortSignal;
}

const DEFAULT_CONTEXT_TOKENS = 8192;
const DEFAULT_SLOTS = 4;
/** Longest text chunk of one step. */
export const CHUNK_TOKENS = 256;
const MAX_SLOTS = 256;
const MAX_DEFAULT_KV_BUDGET_BYTES = 8 * 2 ** 30;
/** About 50 images of the 27B, 100 of the 4B. */
const MAX_IMAGE_CACHE_BYTES = 256 * 2 ** 20;

export interface EngineSettings {
  readonly precision: 'exact' | 'fast';
  readonly head: 'int8' | 'int4' | 'float';
  readonly contextTokens: number;
  readonly slots: number;
  readonly kvBudgetBytes: number;
  readonly imageCacheBytes: number;
  /** What the process may take before anything is loaded. */
  readonly availableBytes: number;
  readonly memory: MemoryTable;
}

/**
 * Fills in what the options leave open and checks the rest against the model.
 * @throws RangeError
 */
export function resolveSettings(
  checkpoint: OpenedCheckpoint,
  options: EngineOptions,
): EngineSettings {
  const { config } = checkpoint;
  const { maxPositions } = config.text;
  const precision = options.precision ?? 'fast';
  const stored = checkpoint.storedHead?.format ?? 'int8';
  const head = options.head ?? (precision === 'exact' ? 'float' : stored);
  const contextTokens = options.contextTokens ?? Math.min(DEFAULT_CONTEXT_TOKENS, maxPositions);
  const slots = options.slots ?? DEFAULT_SLOTS;
  if (!Number.isInteger(contextTokens) || contextTokens < 2 || contextTokens > maxPositions) {
    throw new RangeError(
      `The context must be 2 to ${maxPositions} tokens for this model, not ${contextTokens}.`,
    );
  }
  if (!Number.isInteger(slots) || slots < 1 || slots > MAX_SLOTS) {
    throw new RangeError(`There must be 1 to ${MAX_SLOTS} slots, not ${slots}.`);
  }
  const ringTokens = ringCapacity(ringOptionsFor(config, CHUNK_TOKENS));
  const decoder = checkpoint.tensors.get('layers.0.mlp.down_proj') === undefined ? 'int4' : 'float';
  const fixed = memoryTable({
    config,
    precision,
    head,
    contextTokens,
    rowCount: slots,
    ringTokens,
    decoder,
    chunkTokens: CHUNK_TOKENS,
    tableBytes:
      checkpoint.loadEmbeddings === undefined
        ? 0
        : (checkpoint.tensors.get('embed_tokens')?.sizeBytes ?? 0),
  });
  const free = availableBytes();
  const kvBudgetBytes = options.kvBudgetBytes ?? defaultKvBudget(free - fixed.totalBytes);
  if (!Number.isInteger(kvBudgetBytes) || kvBudgetBytes < 0) {
    throw new RangeError(`kvBudgetBytes must be a whole number from 0 on, not ${kvBudgetBytes}.`);
  }
  const imageCacheBytes =
    config.vision === null ? 0 : Math.min(MAX_IMAGE_CACHE_BYTES, Math.floor(kvBudgetBytes / 8));
  const memory = withHostMemory(fixed, kvBudgetBytes, imageCacheBytes);
  return {
    precision,
    head,
    contextTokens,
    slots,
    kvBudgetBytes,
    imageCacheBytes,
    availableBytes: free,
    memory,
  };
}

/** Some of what is left, so that the rest of the machine has room. */
function defaultKvBudget(leftBytes: number): number {
  return Math.min(MAX_DEFAULT_KV_BUDGET_BYTES, Math.max(0, Math.floor(leftBytes / 4)));
}

function withHostMemory(
  table: MemoryTable,
  kvBudgetBytes: number,
  imageCacheBytes: number,
): MemoryTable {
  const rows = [
    {
      part: KV_PAGES_PART,
      bytes: kvBudgetBytes,
      note: 'at most; conversations without a slot (--kv-budget)',
    },
    {
      part: 'image embeddings',
      bytes: imageCacheBytes,
      note: 'at most; images that come again are not encoded again',
    },
  ].filter(({ bytes }) => bytes > 0);
  const totalBytes = table.totalBytes + kvBudgetBytes + imageCacheBytes;
  return { rows: [...table.rows, ...rows], totalBytes };
}
