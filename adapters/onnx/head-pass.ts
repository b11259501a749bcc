import type { TextConfig } from '../../src/model/config.ts';
import type { LoadedSession } from './load-session.ts';
import { allocateNative } from './native-memory.ts';
import type { OrtBinding, OrtRuntime, OrtTensor } from './ort.ts';

/** The output head over rows of hidden states gathered from a step's passes. */
export interface HeadPass {
  /** [rowsMax, hiddenSize]: hidden states, to be written before `run`. */
  readonly x: Float32Array;
  /** [rowsMax, hiddenSize]: room for callers. */
  readonly scratch: Float32Array;
  /** Returns the logits of the first `rows` rows, [rows, vocabSize]; valid until the next run. */
  run(rows: number): Promise<Float32Array>;
  free(): void;
}

export interface HeadPassOptions {
  readonly rowsMax: number;
  /** Compute a second row beside a single one, whose bits would differ alone. */
  readonly padsSingle: boolean;
}

const BINDINGS_KEPT = 16;

export function createHeadPass(
  runtime: OrtRuntime,
  config: TextConfig,
  loaded: Promise<LoadedSession>,
  options: HeadPassOptions,
): HeadPass {
  const { hiddenSize, vocabSize } = config;
  // One place more than asked for: a single row may take a second one along.
  const rowsMax = options.rowsMax + 1;
  const stateBytes = rowsMax * hiddenSize * 4;
  // Logits of rows that are never asked for cost address space only.
  const memory = allocateNative(2 * stateBytes + rowsMax * vocabSize * 4);
  const x = new Float32Array(memory.buffer, 0, rowsMax * hiddenSize);
  const scratch = new Float32Array(memory.buffer, stateBytes, rowsMax * hiddenSize);
  const logits = new Float32Array(memory.buffer, 2 * stateBytes, rowsMax * vocabSize);
  const known = new Map<number, { binding: OrtBinding; tensors: OrtTensor[] }>();

  const release = (rows: number): void => {
    const bound = known.get(rows);
    known.delete(rows);
    bound?.binding.release();
    for (const tensor of bound?.tensors ?? []) tensor.release();
  };

  return {
    x,
    scratch,
    async run(wanted) {
      if (wanted === 0) return logits.subarray(0, 0);
      const rows = wanted === 1 && options.padsSingle ? 2 : wanted;
      let bound = known.get(rows);
      if (bound === undefined) {
        const { session } = await loaded;
        const input = runtime.tensor(memory, 0, 'float', [rows, hiddenSize]);
        const output = runtime.tensor(memory, 2 * stateBytes, 'float', [rows, vocabSize]);
        const tensors = [input, output];
        bound = {
          binding: session.bind(new Map([['x', input]]), new Map([['logits', output]])),
          tensors,
        };
        known.set(rows, bound);
        if (known.size > BINDINGS_KEPT) {
          const [oldest] = known.keys();
          if (oldest !== undefined) release(oldest);
        }
      }
      await bound.binding.run();
      return logits.subarray(0, wanted * vocabSize);
    },
    free() {
      for (const rows of known.keys()) release(rows);
      memory.free();
    },
  };
}
