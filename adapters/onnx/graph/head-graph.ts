import type { TextConfig } from '../../../src/model/config.ts';
import type { Checkpoint } from '../../../src/weights/checkpoint.ts';
import { headBlockSize, quantizeInt4, quantizeInt8 } from '../../../src/weights/quantize.ts';
import { asFloats, GraphBuilder, MICROSOFT, type Value } from './graph-builder.ts';
import { normWeight, rmsNorm } from './layers.ts';

/** How the output head is kept: rounded to 8 or 4 bits in blocks, or as fp32. */
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
      graph.floats(name, [1], async (target) => void target.fill(value));
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
  const stored = checkpoint.storedHead?.format === format ? checkpoint.storedHead : null;
  const blockSize =
    format === 'float' ? null : (stored?.blockSize ?? headBlockSize(format, columns));
  if (blockSize === null) {
    const weight = graph.floats(
      'head.weight',
      [columns, rows],
      (target, signal) =>
        eachBlock(checkpoint, source, rows, columns, signal, (block, from, count) => {
          for (let r = 0; r < count; r++) {
            for (let c = 0; c < columns; c++) {
              target[c * rows + from + r] = block[r * columns + c] as number;
            }
          }
        }),
      true,
    );
    graph.node('MatMul', [x, weight], [output]);
    return;
  }
  const bits = format === 'int8' ? 8 : 4;
  const quantize = format === 'int8' ? quantizeInt8 : quantizeInt4;
  const blocks = columns / blockSize;
  const rowBytes = (columns * bits) / 8;
  const operands = graph.weights(
    [
      {
        name: 'head.packed',
        type: 'uint8',
        dims: [rows, blocks, rowBytes / blocks],
        isPrepacked: true,
      },
      { name: 'head.scales', type: 'float', dims: [rows * blocks], isPrepacked: true },
    ],
    async ([packed, scales], signal) => {
      if (packed === undefined || scales === undefined) throw new RangeError('operands missing');
      const factors = asFloats(scales);
      if (stored !== null) return stored.read(packed, factors, signal);
      await eachBlock(checkpoint, source, rows, columns, signal, (block, from, count) => {
        for (let r = 0; r < count; r++) {
          quantize(
            block.subarray(r * columns, (r + 1) * columns),
            packed.subarray((from + r) * rowBytes, (from + r + 1) * rowBytes),
            factors.subarray((from + r) * blocks, (from + r + 1) * blocks),
            blockSize,
          );
        }
      });
    },
  );
  // 8-bit weights have a fast kernel only with int8 activations, so the level is fixed.
  graph.node(
    'MatMulNBits',
    [x, ...operands],
    [output],
    { K: columns, N: rows, bits, block_size: blockSize, accuracy_level: 4 },
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
