import { cpus } from 'node:os';
import type { Backend } from '../../src/engine/backend.ts';
import { checkStep } from '../../src/engine/check-step.ts';
import type { RowRing } from '../../src/engine/row-ring.ts';
import { ServeError } from '../../src/errors.ts';
import { createExclusive } from '../../src/lib/exclusive.ts';
import type { LayerType, ModelConfig } from '../../src/model/config.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import type { HeadFormat } from './graph/head-graph.ts';
import type { Precision } from './graph/layers.ts';
import { createHeadPass } from './head-pass.ts';
import { createKvCache, SPARE_ROWS } from './kv-cache.ts';
import { createKvPages } from './kv-pages.ts';
import { createLane } from './lane.ts';
import { startDecoderLoad, type SessionTimes } from './load-decoder.ts';
import { allocateNative, type NativeMemory } from './native-memory.ts';
import { acquireRuntime } from './ort.ts';
import { ringOptionsFor } from './ring-options.ts';
import { fillRopeTables } from './rope.ts';
import { createStepRunner } from './step-runner.ts';
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
  /** Path of ONNX Runtime's library; default the installed one; the first backend of a process decides. */
  readonly library?: string;
  /** Longest text chunk; default 256 tokens. */
  readonly chunkTokens?: number;
  /** A session is ready; see {@link SessionTimes}. */
  readonly onSession?: (times: SessionTimes) => void;
  readonly signal?: AbortSignal;
}

const DEFAULT_CHUNK_TOKENS = 256;

/** A backend that can be asked before its weights are there: steps wait for what they need of them. */
export interface LoadingBackend extends Backend {
  /** Resolves when all weights are there; rejects as every step then does. */
  readonly loaded: Promise<void>;
  /** What the bits of pages depend on besides the weights: kernels, and how they are used. */
  readonly kvKind: string;
}

/**
 * Runs Gemma 3 with ONNX Runtime on the CPU.
 * @throws ServeError backend_unavailable, out_of_memory, invalid_checkpoint
 */
export async function createOnnxBackend(options: OnnxBackendOptions): Promise<Backend> {
  const backend = await startOnnxBackend(options);
  try {
    await backend.loaded;
    return backend;
  } catch (error) {
    await backend.close();
    throw error;
  }
}

/** The same, resolved as soon as the backend can be asked. */
export async function startOnnxBackend(options: OnnxBackendOptions): Promise<LoadingBackend> {
  const { checkpoint, precision, contextTokens, rowCount, signal } = options;
  const config = checkpoint.config;
  const { text, vision } = config;
  const chunkTokens = options.chunkTokens ?? DEFAULT_CHUNK_TOKENS;
  const headFormat = options.head ?? (precision === 'exact' ? 'float' : 'int8');
  const runtime = acquireRuntime(options.threads, options.library);
  const undo: (() => void | Promise<void>)[] = [() => runtime.release()];
  const giveBack = async (): Promise<void> => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const decoder = await startDecoderLoad({
      runtime,
      config,
      checkpoint,
      precision,
      head: headFormat,
      threads: options.threads,
      onSession: options.onSession,
      signal,
    });
    undo.push(() => decoder.close());
    const ring = ringOptionsFor(config, chunkTokens);
    const longestPass = ring.chunkTokens;
    const cache = createKvCache(text, SPARE_ROWS + rowCount, contextTokens, ring);
    undo.push(() => cache.free());
    const pages = createKvPages(cache, config, contextTokens);
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

    /** Number of `row` in the cache. */
    const placeOf = (row: number): number => {
      if (Number.isInteger(row) && row >= 0 && row < rowCount) return SPARE_ROWS + row;
      throw new RangeError(`no row ${row} among ${rowCount}`);
    };
    const stateOf = (row: number): RowRing => cache.rows[placeOf(row)] as RowRing;
    const lengthOf = (row: number): number => stateOf(row).length;

    const padsDecode = rowCount > 1 && singleRowDiffers.has(decoder.linearKind);
    const runStep = createStepRunner({
      config: text,
      checkpoint,
      cache,
      decodeLane,
      chunkLane,
      head,
      padsDecode,
    });
    // Rows must hold still while a step or a move works on them.
    const turn = createExclusive('the backend');
    let isClosed = false;

    function assertOpen(): void {
      if (isClosed) throw new TypeError('the backend is closed');
    }

    function assertIdle(): void {
      assertOpen();
      turn.assertIdle();
    }

    async function alone<T>(work: () => Promise<T>): Promise<T> {
      assertOpen();
      return turn.run(work);
    }

    return {
      loaded: decoder.loaded,
      kvKind: [
        'onnx-1',
        precision,
        process.arch,
        cpus()[0]?.model ?? 'unknown',
        decoder.linearKind,
        padsDecode ? 'pairs' : 'single',
      ].join(';'),
      config,
      rowCount,
      rowTokens: contextTokens,
      chunkTokens,
      kvTokenBytes: pages.tokenBytes,
      length: lengthOf,
      async encodeImages(pixels, count, encodeSignal) {
        assertOpen();
        if (encoder === null) {
          throw new ServeError('invalid_image', 'This model has no vision tower: send text only.');
        }
        return encoder.encode(pixels, count, encodeSignal);
      },
      forward: (step) =>
        alone(async () => {
          checkStep(step, { config, rowCount, rowTokens: contextTokens, chunkTokens }, lengthOf);
          return runStep(step);
        }),
      canCut: (row, length) => stateOf(row).keepable(length) === length,
      copyRow(from, to, length) {
        assertIdle();
        cache.copyRow(placeOf(from), placeOf(to), length);
      },
      swapRows(a, b) {
        assertIdle();
        cache.swapRows(placeOf(a), placeOf(b));
      },
      truncate(row, length) {
        assertIdle();
        return stateOf(row).truncate(length);
      },
      readKv: (row, from, to) => alone(async () => pages.read(placeOf(row), from, to)),
      writeKv: (row, given, length, keep) =>
        alone(async () => pages.write(placeOf(row), given, length, keep)),
      async close() {
        if (isClosed) return;
        isClosed = true;
        decoder.stop();
        await turn.settled();
        await encoder?.close();
        await giveBack();
      },
    };
  } catch (error) {
    await giveBack();
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
