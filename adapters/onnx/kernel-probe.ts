import { asFloats, GraphBuilder, MICROSOFT } from './graph/graph-builder.ts';
import { loadSession } from './load-session.ts';
import { allocateNative } from './native-memory.ts';
import type { OrtRuntime, OrtTensor } from './ort.ts';

/** What a product multiplies with. */
export type ProductKind = 'int4' | 'int8' | 'float';

/** How this machine's kernels behave; it depends on the processor's vector instructions. */
export interface KernelTraits {
  /**
   * The kernels keep a copy of their own of every weight marked as prepacked, so the originals
   * may go. Where one still reads the original (a processor without the fast kernels), they stay.
   */
  readonly dropsOriginals: boolean;
  /**
   * Kinds for which one row alone gets other bits than the same row among several; from two rows
   * on, the number no longer matters. Seen with AVX2; with AVX-512 int4 and int8 are free of it.
   */
  readonly singleRowDiffers: ReadonlySet<ProductKind>;
}

const K = 1024;
const N = 64;
const BLOCK = 32;
const ROWS = [1, 2, 17];

/** Runs small products, with the originals there and gone, and compares. */
export async function probeKernels(
  runtime: OrtRuntime,
  accuracyLevel: number,
): Promise<KernelTraits> {
  let dropsOriginals = true;
  const singleRowDiffers = new Set<ProductKind>();
  for (const kind of ['int4', 'int8', 'float'] as const) {
    // 8-bit products have a usable kernel at level 4 only, whatever the rest of the model uses.
    const level = kind === 'int8' ? 4 : accuracyLevel;
    const kept = await runAll(runtime, probeGraph(kind, level), false);
    const dropped = await runAll(runtime, probeGraph(kind, level), true);
    if (!isSame(kept.flat(), dropped.flat())) dropsOriginals = false;
    const [alone = [], ...several] = kept;
    if (several.some((rows) => !isSame(alone, rows.slice(0, N)))) singleRowDiffers.add(kind);
  }
  return { dropsOriginals, singleRowDiffers };
}

function isSame(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

function probeGraph(kind: ProductKind, accuracyLevel: number): GraphBuilder {
  const graph = new GraphBuilder('probe');
  graph.input('x', 'float', ['M', K]);
  if (kind === 'float') {
    const weight = graph.floats('b', [K, N], async (target) => fillFloats(target), true);
    graph.node('MatMul', ['x', weight], ['y']);
  } else {
    const bits = kind === 'int4' ? 4 : 8;
    const operands = graph.weights(
      [
        { name: 'b', type: 'uint8', dims: [N, K / BLOCK, (BLOCK * bits) / 8], isPrepacked: true },
        { name: 's', type: 'float', dims: [(N * K) / BLOCK], isPrepacked: true },
      ],
      async ([packed, scales]) => {
        if (packed === undefined || scales === undefined) throw new RangeError('operands missing');
        for (let i = 0; i < packed.length; i++) packed[i] = (i * 37 + (i >> 8)) & 0xff;
        fillFloats(asFloats(scales));
      },
    );
    graph.node(
      'MatMulNBits',
      ['x', ...operands],
      ['y'],
      { K, N, bits, block_size: BLOCK, accuracy_level: accuracyLevel },
      MICROSOFT,
    );
  }
  graph.output('y', 'float', ['M', N]);
  return graph;
}

function fillFloats(target: Float32Array): void {
  for (let i = 0; i < target.length; i++) target[i] = ((i * 31) % 17) / 64 + 0.01;
}

/** Products of the first row, the first two, ... of one input, as `ROWS` counts. */
async function runAll(
  runtime: OrtRuntime,
  graph: GraphBuilder,
  dropPrepacked: boolean,
): Promise<number[][]> {
  const loaded = await loadSession(runtime, graph, { dropPrepacked });
  const rows = Math.max(...ROWS);
  const memory = allocateNative(4 * rows * (K + N));
  const x = new Float32Array(memory.buffer, 0, rows * K);
  for (let i = 0; i < x.length; i++) x[i] = Math.sin(i);
  const results: number[][] = [];
  try {
    for (const count of ROWS) {
      const tensors: OrtTensor[] = [
        runtime.tensor(memory, 0, 'float', [count, K]),
        runtime.tensor(memory, 4 * rows * K, 'float', [count, N]),
      ];
      const [input, output] = tensors as [OrtTensor, OrtTensor];
      const binding = loaded.session.bind(new Map([['x', input]]), new Map([['y', output]]));
      try {
        await binding.run();
        results.push([...new Float32Array(memory.buffer, 4 * rows * K, count * N)]);
      } finally {
        binding.release();
        for (const tensor of tensors) tensor.release();
      }
    }
  } finally {
    loaded.close();
    memory.free();
  }
  return results;
}
