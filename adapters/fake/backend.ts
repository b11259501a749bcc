import type { Backend, ForwardStep, PrefillChunk } from '../../src/engine/backend.ts';
import { checkStep } from '../../src/engine/check-step.ts';
import { createRowRing, ringCapacity } from '../../src/engine/row-ring.ts';
import type { RowRing } from '../../src/engine/row-ring.ts';
import { ServeError } from '../../src/errors.ts';
import type { Clock } from '../../src/lib/clock.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { fakeModelConfig } from './config.ts';
import { hashFloats, mix } from './hash.ts';

export interface FakeBackendOptions {
  /** Default: a tiny model with images; see {@link fakeModelConfig}. */
  readonly config?: ModelConfig;
  /** Default 4. */
  readonly rowCount?: number;
  /** Default: the model's context. */
  readonly rowTokens?: number;
  /** Default 64. */
  readonly chunkTokens?: number;
  /** Alignment of the local rings in tokens; default 128. Small ones make rings turn early. */
  readonly alignTokens?: number;
  /** Makes computing take time on this clock. */
  readonly pace?: {
    readonly clock: Clock;
    /** Milliseconds per token of a step, decoded or prompt. */
    readonly tokenMs: number;
    /** Milliseconds per image. */
    readonly imageMs: number;
  };
  /** Called before a step changes anything; a throw or rejection fails it. */
  readonly beforeForward?: (step: ForwardStep) => void | Promise<void>;
  /** Called before images are encoded; a throw or rejection fails it. */
  readonly beforeEncode?: (count: number) => void | Promise<void>;
}

/** The fake, with what tests and health pages ask beyond the port. */
export interface FakeBackend extends Backend {
  /** Rows that hold at least one token. */
  rowsInUse(): number;
}

/** Logits are spread evenly over this interval around 0. */
const LOGIT_SPREAD = 6;
/** Separates what is stored in local layers from what is stored in global ones. */
const LOCAL_SALT = 0x51ed27;

interface Row {
  readonly ring: RowRing;
  /** [rowTokens + 1], by position: the spare entry takes dead writes into a full row. */
  readonly global: Uint32Array;
  /** [ring capacity], by position - origin */
  readonly local: Uint32Array;
}

/**
 * A backend without a model: the next token depends on every entry that is really in the row, on
 * its position, on the window of the local layers and on image content. Whatever reuses, cuts,
 * copies or compacts a row wrongly changes the text.
 */
export function createFakeBackend(options: FakeBackendOptions = {}): FakeBackend {
  const config = options.config ?? fakeModelConfig();
  const { vocabSize, windowTokens, maxPositions } = config.text;
  const tokensPerImage = config.vision?.tokensPerImage ?? 0;
  const rowCount = options.rowCount ?? 4;
  const rowTokens = options.rowTokens ?? maxPositions;
  const chunkTokens = options.chunkTokens ?? 64;
  const ringOptions = {
    windowTokens,
    chunkTokens: Math.max(chunkTokens, tokensPerImage),
    ...(options.alignTokens === undefined ? {} : { alignTokens: options.alignTokens }),
  };
  const rows: readonly Row[] = Array.from({ length: rowCount }, () => ({
    ring: createRowRing(ringOptions),
    global: new Uint32Array(rowTokens + 1),
    local: new Uint32Array(ringCapacity(ringOptions)),
  }));
  const logits: Record<'decode' | 'chunk', Float32Array> = {
    decode: new Float32Array(0),
    chunk: new Float32Array(0),
  };
  let inFlight: Promise<void> | null = null;
  let isClosed = false;

  function rowAt(index: number): Row {
    const row = rows[index];
    if (row === undefined) throw new RangeError(`row ${index} is not one of ${rowCount}`);
    return row;
  }

  /** Throws unless open; a closed device has no memory to read. */
  function assertOpen(): void {
    if (isClosed) throw new ServeError('backend_unavailable', 'The fake backend is closed.');
  }

  function reserve(row: Row, count: number): void {
    const shift = row.ring.reserve(count);
    if (shift > 0) row.local.copyWithin(0, shift, row.ring.localLength + shift);
  }

  /** Writes one token behind the row's end; returns the hidden state there. */
  function write(row: Row, content: number): number {
    const { ring, global, local } = row;
    const position = ring.length;
    let state = mix(content, position);
    for (let at = 0; at < position; at++) state = mix(state, global[at] ?? 0);
    for (let at = Math.max(ring.origin, position - windowTokens + 1); at < position; at++) {
      state = mix(state, mix(local[at - ring.origin] ?? 0, at));
    }
    global[position] = state;
    local[position - ring.origin] = mix(state, LOCAL_SALT);
    ring.advance(1);
    return state;
  }

  function decode(step: ForwardStep): void {
    const first = step.decode[0]?.row ?? 0;
    const last = step.decode.at(-1)?.row ?? -1;
    for (let index = first; index <= last; index++) {
      const row = rowAt(index);
      if (step.decode.some((entry) => entry.row === index)) continue;
      // Real kernels run over the rows in between: one dead entry behind the end of each.
      row.global[row.ring.length] = 0xdead;
      row.local[row.ring.localLength] = 0xdead;
    }
    for (const [index, { row, token }] of step.decode.entries()) {
      reserve(rowAt(row), 1);
      fillLogits(logits.decode, index, write(rowAt(row), token));
    }
  }

  function prefill(chunk: PrefillChunk): void {
    const row = rowAt(chunk.row);
    const count = chunk.tokens.length;
    reserve(row, count);
    // Soft tokens see their whole image, so every one depends on all of it.
    const image = chunk.image === null ? 0 : hashFloats(chunk.image, 0, chunk.image.length);
    let filled = 0;
    for (let index = 0; index < count; index++) {
      const { hiddenSize } = config.text;
      const content =
        chunk.image === null
          ? (chunk.tokens[index] ?? 0)
          : mix(image, hashFloats(chunk.image, index * hiddenSize, (index + 1) * hiddenSize));
      const state = write(row, content);
      const isWanted = chunk.logits === 'all' || (chunk.logits === 'last' && index === count - 1);
      if (isWanted) fillLogits(logits.chunk, filled++, state);
    }
  }

  function fillLogits(target: Float32Array, index: number, state: number): void {
    for (let id = 0; id < vocabSize; id++) {
      target[index * vocabSize + id] = (mix(state, id) / 0x8000_0000 - 1) * LOGIT_SPREAD;
    }
  }

  async function run(step: ForwardStep): Promise<void> {
    // Results live until the next step only: make late readers fail loudly.
    logits.decode.fill(Number.NaN);
    logits.chunk.fill(Number.NaN);
    checkStep(step, { config, rowCount, rowTokens, chunkTokens }, (row) => rowAt(row).ring.length);
    await options.beforeForward?.(step);
    const tokens = step.decode.length + (step.chunk?.tokens.length ?? 0);
    await options.pace?.clock.sleep(tokens * options.pace.tokenMs);
    logits.decode = new Float32Array(step.decode.length * vocabSize);
    decode(step);
    const { chunk } = step;
    if (chunk === null) {
      logits.chunk = new Float32Array(0);
      return;
    }
    const positions = { none: 0, last: 1, all: chunk.tokens.length }[chunk.logits];
    logits.chunk = new Float32Array(positions * vocabSize);
    prefill(chunk);
  }

  return {
    config,
    rowCount,
    rowTokens,
    chunkTokens,
    length(row) {
      assertOpen();
      return rowAt(row).ring.length;
    },
    async encodeImages(pixels, count, signal) {
      assertOpen();
      signal?.throwIfAborted();
      const { vision } = config;
      if (vision === null) throw new RangeError('this model has no vision tower');
      const pixelCount = 3 * vision.imageSize * vision.imageSize;
      if (pixels.length !== count * pixelCount) {
        throw new RangeError(`${count} images need ${count * pixelCount} values`);
      }
      await options.beforeEncode?.(count);
      await options.pace?.clock.sleep(count * options.pace.imageMs, signal);
      const { hiddenSize } = config.text;
      const embeddings = new Float32Array(count * tokensPerImage * hiddenSize);
      for (let image = 0; image < count; image++) {
        const content = hashFloats(pixels, image * pixelCount, (image + 1) * pixelCount);
        const from = image * tokensPerImage * hiddenSize;
        for (let at = 0; at < tokensPerImage * hiddenSize; at++) {
          embeddings[from + at] = mix(content, at) / 0x8000_0000 - 1;
        }
      }
      return embeddings;
    },
    async forward(step) {
      assertOpen();
      if (inFlight !== null) throw new Error('forward was called while another step runs');
      inFlight = run(step);
      try {
        await inFlight;
      } finally {
        inFlight = null;
      }
      return { decode: logits.decode, chunk: logits.chunk };
    },
    copyRow(from, to, length) {
      assertOpen();
      const source = rowAt(from);
      const target = rowAt(to);
      target.ring.copyFrom(source.ring, length);
      target.global.set(source.global.subarray(0, length));
      target.local.set(source.local.subarray(0, target.ring.localLength));
    },
    truncate(row, length) {
      assertOpen();
      return rowAt(row).ring.truncate(length);
    },
    async close() {
      isClosed = true;
      await inFlight?.catch(() => undefined);
    },
    rowsInUse: () => rows.filter(({ ring }) => ring.length > 0).length,
  };
}
