import { runBounded } from '../../src/lib/run-bounded.ts';
import {
  UNREAD_FILE,
  type GraphBuilder,
  type Weight,
  type WeightBlock,
} from './graph/graph-builder.ts';
import { allocateNative, PAGE_BYTES, type NativeMemory } from './native-memory.ts';
import { ELEMENT_BYTES, type OrtRuntime, type OrtSession, type OrtTensor } from './ort.ts';

/** A session together with the memory its weights live in. */
export interface LoadedSession {
  readonly session: OrtSession;
  close(): void;
}

const ALIGN_BYTES = 64;
/** Each holds a stored tensor or two while it is rearranged. */
const FILLED_AT_ONCE = 4;

/** Weights in memory, not yet a session. */
export interface FilledWeights {
  readonly memory: NativeMemory;
  readonly places: readonly Place[];
}

/** Fills the weights of a graph into one block of memory. */
export async function fillWeights(
  runtime: OrtRuntime,
  graph: GraphBuilder,
  signal?: AbortSignal,
): Promise<FilledWeights> {
  const { blocks, sizeBytes } = layOut(graph.blocks);
  const memory = allocateNative(sizeBytes, { hugePages: true });
  try {
    await runBounded(
      blocks.length,
      FILLED_AT_ONCE,
      async (index, fillSignal) => {
        const { block, places } = blocks[index] as PlacedBlock;
        const views = places.map(({ offset, size }) => new Uint8Array(memory.buffer, offset, size));
        await block.fill(views, fillSignal);
      },
      signal,
    );
    signal?.throwIfAborted();
    return { memory, places: blocks.flatMap(({ places }) => places) };
  } catch (error) {
    memory.free();
    throw error;
  }
}

/**
 * Creates a session on filled weights and takes them over. Those that ONNX Runtime rearranges into a
 * copy of its own are given back to the system afterwards.
 */
export async function createFilledSession(
  runtime: OrtRuntime,
  graph: GraphBuilder,
  { memory, places }: FilledWeights,
  { dropPrepacked }: { readonly dropPrepacked: boolean },
): Promise<LoadedSession> {
  const tensors = new Map<string, OrtTensor>();
  const releaseTensors = (): void => {
    for (const tensor of tensors.values()) tensor.release();
    tensors.clear();
  };
  try {
    for (const { weight, offset } of places) {
      tensors.set(weight.name, runtime.tensor(memory, offset, weight.type, weight.dims));
    }
    const session = await runtime.createSession(graph.modelBytes(), {
      initializers: tensors,
      config: [['session.model_external_initializers_file_folder_path', UNREAD_FILE.folder]],
    });
    if (dropPrepacked) {
      for (const { weight, offset, size } of places) {
        if (weight.isPrepacked) memory.discard(offset, size);
      }
    }
    return {
      session,
      close() {
        session.close();
        releaseTensors();
        memory.free();
      },
    };
  } catch (error) {
    releaseTensors();
    memory.free();
    throw error;
  }
}

/** Both, one after the other. */
export async function loadSession(
  runtime: OrtRuntime,
  graph: GraphBuilder,
  options: { readonly dropPrepacked: boolean; readonly signal?: AbortSignal | undefined },
): Promise<LoadedSession> {
  const weights = await fillWeights(runtime, graph, options.signal);
  return createFilledSession(runtime, graph, weights, options);
}

/** Where a weight lies in its block of memory. */
interface Place {
  readonly weight: Weight;
  readonly offset: number;
  /** Bytes. */
  readonly size: number;
}

interface PlacedBlock {
  readonly block: WeightBlock;
  readonly places: readonly Place[];
}

/** Weights to be dropped get pages of their own, so that whole pages can go. */
function layOut(blocks: readonly WeightBlock[]): { blocks: PlacedBlock[]; sizeBytes: number } {
  let end = 0;
  const place = (weight: Weight): Place => {
    const align = weight.isPrepacked ? PAGE_BYTES : ALIGN_BYTES;
    const offset = Math.ceil(end / align) * align;
    const size = weight.dims.reduce((product, dim) => product * dim, ELEMENT_BYTES[weight.type]);
    end = weight.isPrepacked ? Math.ceil((offset + size) / PAGE_BYTES) * PAGE_BYTES : offset + size;
    return { weight, offset, size };
  };
  const placed = blocks.map((block) => ({ block, places: block.weights.map(place) }));
  return { blocks: placed, sizeBytes: end };
}
