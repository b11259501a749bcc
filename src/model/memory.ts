import type { ModelConfig } from './config.ts';
import { countParameters } from './parameters.ts';

export interface MemoryOptions {
  readonly config: ModelConfig;
  /** How linears compute; both hold the same weights. */
  readonly precision: 'exact' | 'fast';
  /** How the LM head is held. */
  readonly head: 'int8' | 'int4' | 'float';
  /** Longest context of one row, in tokens. */
  readonly contextTokens: number;
  /** Sequences that run at the same time. */
  readonly rowCount: number;
  /** Ring capacity of a local layer, in tokens. */
  readonly ringTokens: number;
  /** How the decoder's linears are held; default int4. */
  readonly decoder?: 'int4' | 'float';
  /** Inputs that share one scale; default 32. */
  readonly groupSize?: number;
  /** What the embedding table takes where it is not on this machine's disk; default 0. */
  readonly tableBytes?: number;
  /** Longest text chunk of one step, in tokens; default 256. */
  readonly chunkTokens?: number;
}

export interface MemoryRow {
  readonly part: string;
  readonly bytes: number;
  /** Why it is so, for people. */
  readonly note: string;
}

export interface MemoryTable {
  readonly rows: readonly MemoryRow[];
  readonly totalBytes: number;
}

const FLOAT_BYTES = 4;
/** ONNX Runtime keeps a scale and a sum, both fp32, beside the values of each block. */
const BLOCK_EXTRA_BYTES = 8;
/** Inputs per block of a quantised head; see adapters/onnx/graph/head-graph.ts. */
const HEAD_BLOCK = { int8: 128, int4: 32 } as const;

/** Where the memory of a running model goes, in bytes; activations are fp32. */
export function memoryTable(options: MemoryOptions): MemoryTable {
  const rows = [...weightRows(options), ...kvRows(options), ...bufferRows(options)];
  return { rows, totalBytes: rows.reduce((sum, { bytes }) => sum + bytes, 0) };
}

function weightRows(options: MemoryOptions): readonly MemoryRow[] {
  const { config, head, groupSize = 32 } = options;
  const counts = countParameters(config);
  const isInt4 = (options.decoder ?? 'int4') === 'int4';
  const linearBytes = isInt4
    ? counts.decoderLinear * (0.5 + BLOCK_EXTRA_BYTES / groupSize)
    : counts.decoderLinear * FLOAT_BYTES;
  const normBytes = (counts.decoder - counts.decoderLinear) * FLOAT_BYTES;
  const perHeadWeight = { int8: 1, int4: 0.5, float: FLOAT_BYTES }[head];
  const headExtra = head === 'float' ? 0 : BLOCK_EXTRA_BYTES / HEAD_BLOCK[head];
  return [
    row(
      'decoder weights',
      linearBytes + normBytes,
      `${isInt4 ? `int4 in groups of ${groupSize} with fp32 scales` : 'fp32'}; ${options.precision} computes on the same copy`,
    ),
    row(
      'head',
      counts.embedding * (perHeadWeight + headExtra),
      `${head} copy of the embedding table`,
    ),
    row(
      'embedding table',
      options.tableBytes ?? 0,
      (options.tableBytes ?? 0) === 0
        ? 'rows are read from the checkpoint when needed'
        : 'as stored; comes last',
    ),
    row(
      'vision',
      (counts.vision + counts.projector) * FLOAT_BYTES,
      config.vision === null ? 'text-only model' : 'fp32; loaded with the first image',
    ),
  ];
}

function kvRows({
  config,
  contextTokens,
  rowCount,
  ringTokens,
}: MemoryOptions): readonly MemoryRow[] {
  const { text } = config;
  const globalCount = text.layerTypes.filter((type) => type === 'global').length;
  const localCount = text.layerCount - globalCount;
  const tokenBytes = 2 * text.kvHeadCount * text.headDim * FLOAT_BYTES;
  return [
    row(
      'KV of global layers',
      rowCount * contextTokens * globalCount * tokenBytes,
      `fp32; ${rowCount} rows x ${contextTokens} tokens x ${globalCount} layers`,
    ),
    row(
      'KV of local layers',
      rowCount * ringTokens * localCount * tokenBytes,
      `fp32; ${rowCount} rows x rings of ${ringTokens} tokens x ${localCount} layers`,
    ),
  ];
}

function bufferRows({
  config,
  contextTokens,
  rowCount,
  chunkTokens = 256,
}: MemoryOptions): readonly MemoryRow[] {
  const { text } = config;
  // Per token of a chunk: residual, norm and branch output, query/key/value, gate, up and product.
  const perToken =
    3 * text.hiddenSize +
    (2 * text.headCount + 2 * text.kvHeadCount) * text.headDim +
    3 * text.intermediateSize;
  const logits = (rowCount + 1) * text.vocabSize;
  return [
    row(
      'RoPE tables',
      // Cosine and sine over half the head, once per layer type.
      2 * contextTokens * text.headDim * FLOAT_BYTES,
      'fp32; local and global',
    ),
    row(
      'working buffers',
      ((chunkTokens + rowCount) * perToken + logits) * FLOAT_BYTES,
      `estimate; chunks of ${chunkTokens} tokens, logits of ${rowCount + 1} positions`,
    ),
  ];
}

function row(part: string, bytes: number, note: string): MemoryRow {
  return { part, bytes: Math.ceil(bytes), note };
}
