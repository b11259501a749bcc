import type {
  Backend,
  DecodeEntry,
  ForwardStep,
  PrefillChunk,
  StepLogits,
} from '../../src/engine/backend.ts';
import { checkStep } from '../../src/engine/check-step.ts';
import type { RowRing } from '../../src/engine/row-ring.ts';
import { ServeError } from '../../src/errors.ts';
import type { LayerType, ModelConfig } from '../../src/model/config.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import type { HeadFormat } from './graph/head-graph.ts';
import type { Precision } from './graph/layers.ts';
import { createHeadPass } from './head-pass.ts';
import { createKvCache } from './kv-cache.ts';
import { createLane } from './lane.ts';
import { loadDecoder } from './load-decoder.ts';
import { allocateNative, type NativeMemory } from './native-memory.ts';
import { acquireRuntime } from './ort.ts';
import { ringOptionsFor } from './ring-options.ts';
import { fillRopeTables } from './rope.ts';
import { createVisionEncoder } from './vision-encoder.ts';

export interface OnnxBackendOptions {
  readonly checkpoint: Checkpoint;
  /** `fast` rounds activations to int8 per block; `exact` computes in fp32 with an fp32 head. */
  readonly precision: Precision;
  /** Format of the output head; default int8 in `fast`, float in `exact`. */
  readonly head?: HeadFormat;
  /** Longest sequence, in tokens. */
  readonly contextTokens: number;
  /** Sequences that run at once. */
  readonly rowCount: number;
  /** Compute threads; the first backend of a process decides. */
  readonly threads: number;
  /** Longest text chunk; default 256 tokens. */
  readonly chunkTokens?: number;
  readonly signal?: AbortSignal;
}

const DEFAULT_CHUNK_TOKENS = 256;
/**
 * Cache rows before row 0. A row that decodes alone takes a neighbour along where the kernels would
 * otherwise give it other bits than in a batch; for row 0 that is the spare row, always empty. With
 * one row there are no batches, and nothing to keep up with.
 */
const SPARE_ROWS = 1;

/**
 * Runs Gemma 3 with ONNX Runtime on the CPU.
 * @throws ServeError backend_unavailable, out_of_memory, invalid_checkpoint
 */
export async function createOnnxBackend(options: OnnxBackendOptions): Promise<Backend> {
  const { checkpoint, precision, contextTokens, rowCount, signal } = options;
  const config = checkpoint.config;
  const { text, vision } = config;
  const chunkTokens = options.chunkTokens ?? DEFAULT_CHUNK_TOKENS;
  const headFormat = options.head ?? (precision === 'exact' ? 'float' : 'int8');
  const runtime = acquireRuntime(options.threads);
  const undo: (() => void)[] = [() => runtime.release()];
  const giveBack = (): void => {
    for (const step of undo.splice(0).toReversed()) step();
  };
  try {
    const decoder = await loadDecoder({
      runtime,
      config,
      checkpoint,
      precision,
      head: headFormat,
      signal,
    });
    undo.push(() => decoder.close());
    const ring = ringOptionsFor(config, chunkTokens);
    const longestPass = ring.chunkTokens;
    const cache = createKvCache(text, SPARE_ROWS + rowCount, contextTokens, ring);
    undo.push(() => cache.free());
    const ropePositions = contextTokens + longestPass;
    const rope = createRope(config, ropePositions);
    undo.push(() => rope.free());
    const parts = {
      runtime,
      config: text,
      groups: decoder.groups,
      cache,
      rope,
      ropePositions,
      withImages: vision !== null,
    };
    const decodeLane = createLane(parts, SPARE_ROWS + rowCount, 1);
    undo.push(() => decodeLane.free());
    const chunkLane = createLane(parts, 1, longestPass);
    undo.push(() => chunkLane.free());
    const { singleRowDiffers } = decoder.traits;
    const padsDecode = rowCount > 1 && singleRowDiffers.has(decoder.linearKind);
    const head = createHeadPass(runtime, text, decoder.head, {
      rowsMax: rowCount + longestPass,
      padsSingle: rowCount > 1 && singleRowDiffers.has(headFormat),
    });
    undo.push(() => head.free());
    const encoder =
      vision === null
        ? null
        : createVisionEncoder({
            runtime,
            config,
            vision,
            checkpoint,
            dropPrepacked: decoder.traits.dropsOriginals,
          });

    const { hiddenSize, embeddingScale, vocabSize } = text;
    const stateOf = (row: number): RowRing => {
      const state = row < 0 ? undefined : cache.rows[SPARE_ROWS + row];
      if (state === undefined) throw new RangeError(`no row ${row} among ${rowCount}`);
      return state;
    };
    const lengthOf = (row: number): number => stateOf(row).length;

    async function embed(ids: Int32Array, out: Float32Array): Promise<void> {
      // Awaiting only what needs it keeps local decoding free of extra turns of the event loop.
      const pending = checkpoint.gatherEmbeddings(ids, out);
      if (pending !== undefined) await pending;
      for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) * embeddingScale;
    }

    /**
     * One batch over the rows from the first to the last decoding one; hidden states go to head
     * rows [0, decode.length). Idle rows between take part: a dead entry lands behind their last
     * token, for which every buffer keeps a spare place.
     */
    async function runDecode(decode: readonly DecodeEntry[]): Promise<void> {
      const first = decode[0];
      const last = decode.at(-1);
      if (first === undefined || last === undefined) return;
      for (const { row } of decode) cache.reserve(SPARE_ROWS + row, 1);
      const isSingle = first === last;
      const firstRow = SPARE_ROWS + first.row - (isSingle && padsDecode ? 1 : 0);
      const rows = SPARE_ROWS + last.row - firstRow + 1;
      const ids = Int32Array.from(decode, ({ token }) => token);
      const embedded = head.scratch.subarray(0, ids.length * hiddenSize);
      await embed(ids, embedded);
      for (const [i, { row }] of decode.entries()) {
        const state = embedded.subarray(i * hiddenSize, (i + 1) * hiddenSize);
        decodeLane.x.set(state, (SPARE_ROWS + row - firstRow) * hiddenSize);
      }
      const y = await decodeLane.run({
        firstRow,
        rowCount: rows,
        tokenCount: 1,
        isImage: false,
      });
      for (const [i, { row }] of decode.entries()) {
        const at = (SPARE_ROWS + row - firstRow) * hiddenSize;
        head.x.set(y.subarray(at, at + hiddenSize), i * hiddenSize);
      }
    }

    /** Returns how many head rows the chunk filled, from `headRow` on. */
    async function runChunk(chunk: PrefillChunk, headRow: number): Promise<number> {
      const count = chunk.tokens.length;
      cache.reserve(SPARE_ROWS + chunk.row, count);
      const x = chunkLane.x.subarray(0, count * hiddenSize);
      if (chunk.image === null) await embed(chunk.tokens, x);
      else x.set(chunk.image);
      const y = await chunkLane.run({
        firstRow: SPARE_ROWS + chunk.row,
        rowCount: 1,
        tokenCount: count,
        isImage: chunk.image !== null,
      });
      if (chunk.logits === 'none') return 0;
      const first = chunk.logits === 'all' ? 0 : count - 1;
      head.x.set(y.subarray(first * hiddenSize, count * hiddenSize), headRow * hiddenSize);
      return count - first;
    }

    let running: Promise<unknown> | null = null;
    let isClosed = false;

    async function forward(step: ForwardStep): Promise<StepLogits> {
      const { decode, chunk } = step;
      await runDecode(decode);
      const chunkRows = chunk === null ? 0 : await runChunk(chunk, decode.length);
      const logits = await head.run(decode.length + chunkRows);
      // Only now: a failed step leaves every row as it was.
      for (const { row } of decode) stateOf(row).advance(1);
      if (chunk !== null) stateOf(chunk.row).advance(chunk.tokens.length);
      return {
        decode: logits.subarray(0, decode.length * vocabSize),
        chunk: logits.subarray(decode.length * vocabSize),
      };
    }

    function assertOpen(): void {
      if (isClosed) throw new TypeError('the backend is closed');
    }

    return {
      config,
      rowCount,
      rowTokens: contextTokens,
      chunkTokens,
      length: lengthOf,
      async encodeImages(pixels, count, encodeSignal) {
        assertOpen();
        if (encoder === null) {
          throw new ServeError('invalid_image', 'This model has no vision tower: send text only.');
        }
        return encoder.encode(pixels, count, encodeSignal);
      },
      async forward(step) {
        assertOpen();
        if (running !== null) throw new TypeError('a step is already running');
        checkStep(step, { config, rowCount, rowTokens: contextTokens, chunkTokens }, lengthOf);
        const turn = forward(step);
        running = turn.catch(() => undefined);
        try {
          return await turn;
        } finally {
          running = null;
        }
      },
      copyRow(from, to, length) {
        assertOpen();
        stateOf(from);
        stateOf(to);
        cache.copyRow(SPARE_ROWS + from, SPARE_ROWS + to, length);
      },
      truncate(row, length) {
        assertOpen();
        return stateOf(row).truncate(length);
      },
      async close() {
        if (isClosed) return;
        isClosed = true;
        await running;
        await encoder?.close();
        giveBack();
      },
    };
  } catch (error) {
    giveBack();
    throw error;
  }
}

function createRope(config: ModelConfig, positions: number): NativeMemory {
  const { headDim, rope } = config.text;
  const floats = (positions * headDim) / 2;
  const memory = allocateNative(4 * floats * 4);
  const order: readonly LayerType[] = ['global', 'local'];
  for (const [t, type] of order.entries()) {
    const table = (k: number): Float32Array =>
      new Float32Array(memory.buffer, (2 * t + k) * floats * 4, floats);
    fillRopeTables(rope[type], headDim, table(0), table(1));
  }
  return memory;
}
