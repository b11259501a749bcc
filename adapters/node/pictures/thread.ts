import { parentPort, workerData } from 'node:worker_threads';
import type { PreparedImage } from '../../../src/engine/engine.ts';
import { type ErrorCode, ServeError } from '../../../src/errors.ts';
import type { ImageConfig } from '../../../src/image/image-config.ts';
import { prepareWith } from '../../../src/image/prepare-picture.ts';
import type { ImageLimits } from '../../../src/image/sniff.ts';
import { createNodeImageDecoder } from '../image-decoder.ts';

/** What the thread is asked for, one at a time. */
export interface PictureTask {
  readonly file: Uint8Array;
  readonly config: ImageConfig;
  readonly withCrops: boolean;
}

/** What it answers. Errors lose their class on the way, so they travel as plain data. */
export type PictureResult =
  | { readonly images: readonly PreparedImage[] }
  | { readonly error: { readonly code: ErrorCode; readonly message: string } };

export interface PictureThreadSetup {
  readonly limits: ImageLimits;
}

const { limits } = workerData as PictureThreadSetup;
const prepare = prepareWith(createNodeImageDecoder({ limits }));

async function answer({ file, config, withCrops }: PictureTask): Promise<void> {
  let result: PictureResult;
  try {
    result = { images: await prepare(file, config, withCrops) };
  } catch (error) {
    const { code, message } = ServeError.is(error)
      ? error
      : new ServeError('internal', 'The picture could not be prepared.', { cause: error });
    result = { error: { code, message } };
  }
  const buffers = 'images' in result ? result.images.map(({ rgb }) => rgb.buffer) : [];
  parentPort?.postMessage(result, buffers as ArrayBuffer[]);
}

parentPort?.on('message', (task: PictureTask) => void answer(task));
