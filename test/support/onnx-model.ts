import { fileURLToPath } from 'node:url';
import { createFolderSource } from '../../adapters/node/folder-source.ts';
import { createOnnxBackend, type OnnxBackendOptions } from '../../adapters/onnx/backend.ts';
import type { Backend } from '../../src/engine/backend.ts';
import { openCheckpoint } from '../../src/weights/open-checkpoint.ts';

/** The tiny random model whose logits the reference implementation gave. */
export const TINY_FOLDER: string = fileURLToPath(new URL('../golden/tiny/', import.meta.url));
export const DEMO_FOLDER: string = fileURLToPath(
  new URL('../../infra/demo-model/', import.meta.url),
);

/** Loads a checkpoint folder into ONNX Runtime; closing the backend closes the checkpoint. */
export async function loadOnnx(
  folder: string,
  options: Partial<OnnxBackendOptions> = {},
): Promise<Backend> {
  const checkpoint = await openCheckpoint(createFolderSource(folder));
  const backend = await createOnnxBackend({
    checkpoint,
    precision: 'exact',
    contextTokens: 1024,
    rowCount: 2,
    threads: 2,
    ...options,
  });
  return {
    ...backend,
    async close() {
      await backend.close();
      await checkpoint.close();
    },
  };
}

/** Cuts a prompt into text parts and image runs: [from, to), and the image's number or null. */
export function promptParts(
  tokens: readonly number[],
  imageTokenId: number,
  tokensPerImage: number,
): { from: number; to: number; image: number | null }[] {
  const parts: { from: number; to: number; image: number | null }[] = [];
  let image = 0;
  for (let from = 0; from < tokens.length;) {
    const isImage = tokens[from] === imageTokenId;
    const nextImage = tokens.indexOf(imageTokenId, from);
    const textEnd = nextImage < 0 ? tokens.length : nextImage;
    const to = isImage ? from + tokensPerImage : textEnd;
    parts.push({ from, to, image: isImage ? image++ : null });
    from = to;
  }
  return parts;
}

/** Index of the largest value; ties go to the lower index. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if ((values[i] as number) > (values[best] as number)) best = i;
  }
  return best;
}

/** Decodes greedily until `count` tokens were made, the first from `logits`. */
export async function greedy(
  backend: Backend,
  row: number,
  logits: Float32Array,
  count: number,
): Promise<number[]> {
  const made = [argmax(logits)];
  while (made.length < count) {
    const token = made.at(-1) as number;
    const step = await backend.forward({
      decode: [{ row, start: backend.length(row), token }],
      chunk: null,
    });
    made.push(argmax(step.decode));
  }
  return made;
}
