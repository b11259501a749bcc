import { GRID_GROUP } from '../../bundle/grid.ts';
import { ServeError } from '../../errors.ts';
import { damaged } from '../byte-cursor.ts';
import { hasBfloat16, showGroup, showOdd } from './odd-values.ts';
import { recoverFloatGroup } from './recover-grid.ts';

/** The three parts of one linear, as AutoAWQ's gemm kernels take them. */
export interface AwqParts {
  /** [inputs, outputs / 8] */
  readonly qweight: Uint32Array;
  /** [inputs / 32, outputs / 8]: every zero point is 8. */
  readonly qzeros: Uint32Array;
  /** [inputs / 32, outputs], bfloat16 */
  readonly scales: Uint16Array;
}

/** Recovers the int4 grid of a linear piece by piece and packs what it finds. */
export interface AwqPacker {
  /**
   * One group of inputs for some outputs.
   * @param values [32, outputs], from input `input` and output `output` on
   */
  addInputs(values: Float32Array, input: number, output: number, outputs: number): void;
  /**
   * All inputs of some outputs.
   * @param values [rows, inputs], from output `output` on; both multiples of 8
   */
  addOutputs(values: Float32Array, output: number, rows: number): void;
  finish(): AwqParts;
}

const ALL_EIGHTS = 0x8888_8888;

/**
 * @param where for messages
 * @throws ServeError invalid_checkpoint from what adds values that lie on no int4 grid
 */
export function createAwqPacker(outputs: number, inputs: number, where: string): AwqPacker {
  const words = outputs / 8;
  const qweight = new Uint32Array(inputs * words);
  const scales = new Uint16Array((inputs / GRID_GROUP) * outputs);
  const group = new Float32Array(GRID_GROUP);
  const scale = new Float32Array(1);
  const scaleBits = new Uint32Array(scale.buffer);
  /** Nibbles of eight outputs: [8, 32]. */
  const nibbles = new Uint8Array(8 * GRID_GROUP);

  function recover(
    values: Float32Array,
    at: number,
    lane: number,
    input: number,
    output: number,
  ): void {
    const found = recoverFloatGroup(values, at, nibbles, lane * GRID_GROUP);
    if (found < 0) throw offGrid(values, at, input, output, where);
    scale[0] = found;
    scales[(input / GRID_GROUP) * outputs + output] = (scaleBits[0] as number) >>> 16;
  }

  /** Nibble p of a word is output [0, 2, 4, 6, 1, 3, 5, 7][p]. */
  function word(i: number): number {
    return (
      (nibbles[i] as number) |
      ((nibbles[i + 2 * GRID_GROUP] as number) << 4) |
      ((nibbles[i + 4 * GRID_GROUP] as number) << 8) |
      ((nibbles[i + 6 * GRID_GROUP] as number) << 12) |
      ((nibbles[i + GRID_GROUP] as number) << 16) |
      ((nibbles[i + 3 * GRID_GROUP] as number) << 20) |
      ((nibbles[i + 5 * GRID_GROUP] as number) << 24) |
      ((nibbles[i + 7 * GRID_GROUP] as number) << 28)
    );
  }

  return {
    addInputs(values, input, output, count) {
      for (let n = 0; n < count; n += 8) {
        for (let lane = 0; lane < 8; lane++) {
          let at = n + lane;
          for (let i = 0; i < GRID_GROUP; i++) {
            group[i] = values[at] as number;
            at += count;
          }
          recover(group, 0, lane, input, output + n + lane);
        }
        let at = input * words + (output + n) / 8;
        for (let i = 0; i < GRID_GROUP; i++) {
          qweight[at] = word(i);
          at += words;
        }
      }
    },
    addOutputs(values, output, rows) {
      // Group by group, so that a group's words, which lie far apart, are written side by side.
      for (let input = 0; input < inputs; input += GRID_GROUP) {
        for (let row = 0; row < rows; row += 8) {
          for (let lane = 0; lane < 8; lane++) {
            recover(values, (row + lane) * inputs + input, lane, input, output + row + lane);
          }
          let at = input * words + (output + row) / 8;
          for (let i = 0; i < GRID_GROUP; i++) {
            qweight[at] = word(i);
            at += words;
          }
        }
      }
    },
    finish: () => ({
      qweight,
      qzeros: new Uint32Array((inputs / GRID_GROUP) * words).fill(ALL_EIGHTS),
      scales,
    }),
  };
}

function offGrid(
  values: Float32Array,
  at: number,
  input: number,
  output: number,
  where: string,
): ServeError {
  const odd = values.subarray(at, at + GRID_GROUP).findIndex((value) => !hasBfloat16(value));
  if (odd >= 0) {
    const shown = showOdd(values[at + odd] ?? Number.NaN);
    return damaged(where, `its weight of output ${output} for input ${input + odd} is ${shown}`);
  }
  return new ServeError(
    'invalid_checkpoint',
    `${where}: the weights of output ${output} from input ${input} on (${showGroup(values, at)}) lie on no grid of 4 bits; convert the checkpoint whose name ends with -int4, which was trained to be rounded, or if this is it, download it again: it is damaged`,
  );
}
