import type {
  DecodeEntry,
  ForwardStep,
  PrefillChunk,
  StepLogits,
} from '../../src/engine/backend.ts';
import type { TextConfig } from '../../src/model/config.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import type { HeadPass } from './head-pass.ts';
import { SPARE_ROWS, type KvCache } from './kv-cache.ts';
import type { Lane } from './lane.ts';

export interface StepRunnerOptions {
  readonly config: TextConfig;
  readonly checkpoint: Pick<Checkpoint, 'gatherEmbeddings'>;
  readonly cache: KvCache;
  /** One token in each row. */
  readonly decodeLane: Lane;
  /** Many tokens in one row. */
  readonly chunkLane: Lane;
  readonly head: HeadPass;
  /** Whether a row that decodes alone takes the row before it along. */
  readonly padsDecode: boolean;
}

/** Returns what computes a checked step: embeddings, decoder passes, head. Rows advance at its end. */
export function createStepRunner(
  options: StepRunnerOptions,
): (step: ForwardStep) => Promise<StepLogits> {
  const { checkpoint, cache, decodeLane, chunkLane, head, padsDecode } = options;
  const { hiddenSize, embeddingScale, vocabSize } = options.config;

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
    const y = await decodeLane.run({ firstRow, rowCount: rows, tokenCount: 1, isImage: false });
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

  return async ({ decode, chunk }) => {
    await runDecode(decode);
    const chunkRows = chunk === null ? 0 : await runChunk(chunk, decode.length);
    const logits = await head.run(decode.length + chunkRows);
    // Only now: a failed step leaves every row as it was.
    for (const { row } of decode) cache.rows[SPARE_ROWS + row]?.advance(1);
    if (chunk !== null) cache.rows[SPARE_ROWS + chunk.row]?.advance(chunk.tokens.length);
    return {
      decode: logits.subarray(0, decode.length * vocabSize),
      chunk: logits.subarray(decode.length * vocabSize),
    };
  };
}
