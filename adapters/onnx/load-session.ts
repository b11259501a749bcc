import { UNREAD_FILE, type GraphBuilder, type Weight } from './graph/graph-builder.ts';
import { allocateNative, PAGE_BYTES } from './native-memory.ts';
import type { OrtRuntime, OrtSession, OrtTensor } from './ort.ts';

/** A session together with the memory its weights live in. */
export interface LoadedSession {
  readonly session: OrtSession;
  /** Bytes of weights that stay resident outside ONNX Runtime's own copies. */
  readonly residentBytes: number;
  close(): void;
}

const ALIGN_BYTES = 64;

/**
 * Fills the weights of a graph into one block of memory and creates its session on them. Weights
 * that ONNX Runtime rearranges into a copy of its own are given back to the system afterwards.
 */
export async function loadSession(
  runtime: OrtRuntime,
  graph: GraphBuilder,
  options: { readonly dropPrepacked: boolean; readonly signal?: AbortSignal | undefined },
): Promise<LoadedSession> {
  const { dropPrepacked, signal } = options;
  const places = layOut(graph.weights);
  const memory = allocateNative(places.sizeBytes);
  const tensors = new Map<string, OrtTensor>();
  const releaseTensors = (): void => {
    for (const tensor of tensors.values()) tensor.release();
    tensors.clear();
  };
  try {
    await Promise.all(
      places.weights.map(({ weight, offset }) =>
        weight.fill(new Uint8Array(memory.buffer, offset, weight.sizeBytes), signal),
      ),
    );
    signal?.throwIfAborted();
    for (const { weight, offset } of places.weights) {
      tensors.set(weight.name, runtime.tensor(memory, offset, weight.type, weight.dims));
    }
    const session = await runtime.createSession(graph.modelBytes(), {
      initializers: tensors,
      config: [['session.model_external_initializers_file_folder_path', UNREAD_FILE.folder]],
    });
    let residentBytes = places.sizeBytes;
    if (dropPrepacked) {
      for (const { weight, offset } of places.weights) {
        if (!weight.isPrepacked) continue;
        memory.discard(offset, weight.sizeBytes);
        residentBytes -= weight.sizeBytes;
      }
    }
    return {
      session,
      residentBytes,
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

interface Place {
  readonly weight: Weight;
  readonly offset: number;
}

/** Weights to be dropped start on pages of their own, so that whole pages can go. */
function layOut(weights: readonly Weight[]): { weights: Place[]; sizeBytes: number } {
  let end = 0;
  const placed = weights.map((weight) => {
    const align = weight.isPrepacked ? PAGE_BYTES : ALIGN_BYTES;
    const offset = Math.ceil(end / align) * align;
    const size = weight.isPrepacked
      ? Math.ceil(weight.sizeBytes / PAGE_BYTES) * PAGE_BYTES
      : weight.sizeBytes;
    end = offset + size;
    return { weight, offset };
  });
  return { weights: placed, sizeBytes: end };
}
