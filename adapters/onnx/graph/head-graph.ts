import type { TextConfig } from '../../../src/model/config.ts';
import type { Checkpoint } from '../../../src/weights/checkpoint.ts';
import { BLOCK, quantizeInt4, quantizeInt8 } from '../quantize.ts';
import { GraphBuilder, MICROSOFT, type Value } from './graph-builder.ts';
import { asFloats, normWeight, rmsNorm } from './layers.ts';

/** How the output head is kept: rounded to 8 or 4 bits in blocks of 32, or as fp32. */
export type HeadFormat = 'int8' | 'int4' | 'float';

export interface HeadGraphOptions {
  readonly config: TextConfig;
  readonly checkpoint: Checkpoint;
  readonly format: HeadFormat;
}

/** Rows read and rounded at a time: bounds the memory that loading needs. */
const ROWS_AT_A_TIME = 1024;

/** Final norm and output head: `x` [R, hidden] to `logits` [R, vocab]. */
export function headGraph(options: HeadGraphOptions): GraphBuilder {
  const { config, checkpoint } = options;
  const graph = new GraphBuilder('head');
  graph.input('x', 'float', ['R', config.hiddenSize]);
  const weight = normWeight(graph, checkpoint, 'norm', config.hiddenSize);
  const normed = rmsNorm(graph, 'x', weight, config.rmsNormEps);
  const cap = config.logitSoftcap;
  multiply(graph, options, normed, cap === null ? 'logits' : 'unbounded');
  if (cap !== null) {
    const factor = (name: string, value: number): Value =>
      graph.weight(name, 'float', [1], {
        fill: async (target) => void (asFloats(target)[0] = value),
      });
    const scaled = graph.apply('Mul', ['unbounded', factor('inverse-cap', 1 / cap)]);
    graph.node('Mul', [graph.apply('Tanh', [scaled]), factor('cap', cap)], ['logits']);
  }
  graph.output('logits', 'float', ['R', config.vocabSize]);
  return graph;
}

function multiply(graph: GraphBuilder, options: HeadGraphOptions, x: Value, output: Value): void {
  const { config, checkpoint, format } = options;
  const { vocabSize: rows, hiddenSize: columns } = config;
  const source = checkpoint.tensors.has('lm_head') ? 'lm_head' : 'embed_tokens';
  if (format === 'float' || columns % BLOCK !== 0) {
    const weight = graph.weight('head.weight', 'float', [columns, rows], {
      isPrepacked: true,
      async fill(target, signal) {
        const out = asFloats(target);
        await eachBlock(checkpoint, source, rows, columns, signal, (block, from, count) => {
          for (let r = 0; r < count; r++) {
            for (let c = 0; c < columns; c++) {
              out[c * rows + from + r] = block[r * columns + c] as number;
            }
          }
        });
      },
    });
    graph.node('MatMul', [x, weight], [output]);
    return;
  }
  const bits = format === 'int8' ? 8 : 4;
  const quantize = format === 'int8' ? quantizeInt8 : quantizeInt4;
  const blocks = columns / BLOCK;
  const rowBytes = (columns * bits) / 8;
  let packed: Uint8Array | undefined;
  let scales: Float32Array | undefined;
  let finish: (pass: Promise<void>) => void = () => undefined;
  const done = new Promise<void>((resolve) => {
    finish = (pass) => resolve(pass);
  });
  // Both operands come from one pass over the table.
  const start = (signal?: AbortSignal): Promise<void> => {
    const [bytes, factors] = [packed, scales];
    if (bytes !== undefined && factors !== undefined) {
      finish(
        eachBlock(checkpoint, source, rows, columns, signal, (block, from, count) => {
          for (let r = 0; r < count; r++) {
            quantize(
              block.subarray(r * columns, (r + 1) * columns),
              bytes.subarray((from + r) * rowBytes, (from + r + 1) * rowBytes),
              factors.subarray((from + r) * blocks, (from + r + 1) * blocks),
            );
          }
        }),
      );
      packed = scales = undefined;
    }
    return done;
  };
  const weights = [
    graph.weight('head.packed', 'uint8', [rows, blocks, rowBytes / blocks], {
      isPrepacked: true,
      fill(target, signal) {
        packed = target;
        return start(signal);
      },
    }),
    graph.weight('head.scales', 'float', [rows * blocks], {
      fill(target, signal) {
        scales = asFloats(target);
        return start(signal);
      },
    }),
  ];
  // 8-bit weights have a fast kernel only with int8 activations, so the level is fixed.
  graph.node(
    'MatMulNBits',
    [x, ...weights],
    [output],
    { K: columns, N: rows, bits, block_size: BLOCK, accuracy_level: 4 },
    MICROSOFT,
  );
}

async function eachBlock(
  checkpoint: Checkpoint,
  source: string,
  rows: number,
  columns: number,
  signal: AbortSignal | undefined,
  visit: (block: Float32Array, from: number, count: number) => void,
): Promise<void> {
  const block = new Float32Array(Math.min(rows, ROWS_AT_A_TIME) * columns);
  for (let from = 0; from < rows; from += ROWS_AT_A_TIME) {
    const to = Math.min(rows, from + ROWS_AT_A_TIME);
    await checkpoint.readRows(source, from, to, block.subarray(0, (to - from) * columns), signal);
    visit(block, from, to - from);
  }
}
