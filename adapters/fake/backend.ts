import type { Backend, ForwardStep, KvPage, PrefillChunk } from '../../src/engine/backend.ts';
import { checkKvRead, checkKvWrite } from '../../src/engine/check-kv.ts';
import { checkStep } from '../../src/engine/check-step.ts';
import { ServeError } from '../../src/errors.ts';
import type { Clock } from '../../src/lib/clock.ts';
import { createExclusive } from '../../src/lib/exclusive.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { fakeModelConfig } from './config.ts';
import { hashFloats, mix } from './hash.ts';
import { createFakeRow, FAKE_TOKEN_BYTES, type FakeRow } from './row.ts';

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
    /** Milliseconds per token of a page read or written; default 0. */
    readonly kvTokenMs?: number;
  };
  /** Called before a step changes anything; a throw or rejection fails it. */
  readonly beforeForward?: (step: ForwardStep) => void | Promise<void>;
  /** Called before images are encoded; a throw or rejection fails it. */
  readonly beforeEncode?: (count: number) => void | Promise<void>;
  /** Called before a page is read or pages are written; a throw or rejection fails it. */
  readonly beforeKv?: (kind: 'read' | 'write') => void | Promise<void>;
}

/** The fake, with what tests and health pages ask beyond the port. */
export interface FakeBackend extends Backend {
  /** Rows that hold at least one token. */
  rowsInUse(): number;
  /** Pages read from rows and written to rows so far. */
  pageCounts(): { readonly read: number; readonly written: number };
}

/** Logits are spread evenly over this interval around 0. */
const LOGIT_SPREAD = 6;

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
  const kvTokenBytes = { global: FAKE_TOKEN_BYTES, local: FAKE_TOKEN_BYTES };
  const rows = Array.from({ length: rowCount }, () => createFakeRow(rowTokens, ringOptions));
  const logits: Record<'decode' | 'chunk', Float32Array> = {
    decode: new Float32Array(0),
    chunk: new Float32Array(0),
  };
  const turn = createExclusive('the fake backend');
  let pagesRead = 0;
  let pagesWritten = 0;
  let isClosed = false;

  function rowAt(index: number): FakeRow {
    const row = rows[index];
    if (row === undefined) throw new RangeError(`row ${index} is not one of ${rowCount}`);
    return row;
  }

  /** Throws unless open; a closed device has no memory to read. */
  function assertOpen(): void {
    if (isClosed) throw new ServeError('backend_unavailable', 'The fake backend is closed.');
  }

  /** Rows hold still while a step or a page is under way. */
  function assertIdle(): void {
    assertOpen();
    turn.assertIdle();
  }

  function decode(step: ForwardStep): void {
    const first = step.decode[0]?.row ?? 0;
    const last = step.decode.at(-1)?.row ?? -1;
    for (let index = first; index <= last; index++) {
      // Real kernels run over the rows in between.
      if (!step.decode.some((entry) => entry.row === index)) rowAt(index).writeDead();
    }
    for (const [index, { row, token }] of step.decode.entries()) {
      rowAt(row).reserve(1);
      fillLogits(logits.decode, index, rowAt(row).append(token));
    }
  }

  function prefill(chunk: PrefillChunk): void {
    const row = rowAt(chunk.row);
    const count = chunk.tokens.length;
    row.reserve(count);
    // Soft tokens see their whole image, so every one depends on all of it.
    const image = chunk.image === null ? 0 : hashFloats(chunk.image, 0, chunk.image.length);
    let filled = 0;
    for (let index = 0; index < count; index++) {
      const { hiddenSize } = config.text;
      const content =
        chunk.image === null
          ? (chunk.tokens[index] ?? 0)
          : mix(image, hashFloats(chunk.image, index * hiddenSize, (index + 1) * hiddenSize));
      const state = row.append(content);
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

  async function readPage(row: FakeRow, from: number, to: number): Promise<KvPage> {
    checkKvRead(from, to, row.ring.length);
    await options.beforeKv?.('read');
    await options.pace?.clock.sleep((to - from) * (options.pace.kvTokenMs ?? 0));
    pagesRead++;
    return row.read(from, to);
  }

  async function writePages(
    row: FakeRow,
    pages: readonly KvPage[],
    length: number,
    keep: number,
  ): Promise<void> {
    const heldTokens = row.ring.length;
    try {
      const limits = { config, rowTokens, kvTokenBytes, heldTokens };
      const localFrom = checkKvWrite(pages, length, keep, limits);
      await options.beforeKv?.('write');
      await options.pace?.clock.sleep((length - keep) * (options.pace.kvTokenMs ?? 0));
      pagesWritten += pages.length;
      row.restore(pages, length, keep, localFrom);
    } catch (error) {
      row.ring.truncate(0);
      throw error;
    }
  }

  return {
    config,
    rowCount,
    rowTokens,
    chunkTokens,
    kvTokenBytes,
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
      await turn.run(() => run(step));
      return { decode: logits.decode, chunk: logits.chunk };
    },
    canCut(row, length) {
      assertOpen();
      return rowAt(row).ring.keepable(length) === length;
    },
    copyRow(from, to, length) {
      assertIdle();
      rowAt(to).copyFrom(rowAt(from), length);
    },
    swapRows(a, b) {
      assertIdle();
      [rows[a], rows[b]] = [rowAt(b), rowAt(a)];
    },
    truncate(row, length) {
      assertIdle();
      return rowAt(row).ring.truncate(length);
    },
    async readKv(row, from, to) {
      assertOpen();
      return turn.run(() => readPage(rowAt(row), from, to));
    },
    async writeKv(row, pages, length, keep) {
      assertOpen();
      await turn.run(() => writePages(rowAt(row), pages, length, keep));
    },
    async close() {
      isClosed = true;
      await turn.settled();
    },
    rowsInUse: () => rows.filter(({ ring }) => ring.length > 0).length,
    pageCounts: () => ({ read: pagesRead, written: pagesWritten }),
  };
}
