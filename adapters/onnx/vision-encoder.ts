import type { ModelConfig, VisionConfig } from '../../src/model/config.ts';
import type { Checkpoint } from '../../src/weights/checkpoint.ts';
import { visionGraph } from './graph/vision-graph.ts';
import { loadSession, type LoadedSession } from './load-session.ts';
import { allocateNative } from './native-memory.ts';
import type { OrtRuntime, OrtTensor } from './ort.ts';

/** The vision tower and projector, loaded when the first image comes. */
export interface VisionEncoder {
  /** @see Backend.encodeImages */
  encode(pixels: Float32Array, count: number, signal?: AbortSignal): Promise<Float32Array>;
  /** Waits for passes in flight. */
  close(): Promise<void>;
}

export interface VisionEncoderOptions {
  readonly runtime: OrtRuntime;
  readonly config: ModelConfig;
  readonly vision: VisionConfig;
  readonly checkpoint: Checkpoint;
  readonly dropPrepacked: boolean;
}

export function createVisionEncoder(options: VisionEncoderOptions): VisionEncoder {
  const { runtime, config, vision, checkpoint, dropPrepacked } = options;
  const textHiddenSize = config.text.hiddenSize;
  let loading: Promise<LoadedSession> | undefined;
  let last: Promise<unknown> = Promise.resolve();
  let isClosed = false;

  // One load for all that wait; a failed one is forgotten, so that the next image tries again.
  const load = (): Promise<LoadedSession> =>
    (loading ??= loadSession(runtime, visionGraph({ vision, textHiddenSize, checkpoint }), {
      dropPrepacked,
    }).catch((error: unknown) => {
      loading = undefined;
      throw error;
    }));

  /** One image at a time: the attention buffers of a large tower are worth hundreds of MB. */
  async function encodeOne(session: LoadedSession, pixels: Float32Array): Promise<Float32Array> {
    const featureCount = vision.tokensPerImage * textHiddenSize;
    const memory = allocateNative(4 * (pixels.length + featureCount));
    const tensors: OrtTensor[] = [];
    try {
      new Float32Array(memory.buffer, 0, pixels.length).set(pixels);
      const side = vision.imageSize;
      tensors.push(
        runtime.tensor(memory, 0, 'float', [1, 3, side, side]),
        runtime.tensor(memory, 4 * pixels.length, 'float', [
          1,
          vision.tokensPerImage,
          textHiddenSize,
        ]),
      );
      const [input, output] = tensors as [OrtTensor, OrtTensor];
      const binding = session.session.bind(
        new Map([['pixels', input]]),
        new Map([['features', output]]),
      );
      try {
        await binding.run();
      } finally {
        binding.release();
      }
      return new Float32Array(memory.buffer, 4 * pixels.length, featureCount).slice();
    } finally {
      for (const tensor of tensors) tensor.release();
      memory.free();
    }
  }

  async function encodeAll(
    pixels: Float32Array,
    count: number,
    signal: AbortSignal | undefined,
  ): Promise<Float32Array> {
    signal?.throwIfAborted();
    const session = await load();
    const size = pixels.length / count;
    const featureCount = vision.tokensPerImage * textHiddenSize;
    const features = new Float32Array(count * featureCount);
    for (let i = 0; i < count; i++) {
      signal?.throwIfAborted();
      const one = await encodeOne(session, pixels.subarray(i * size, (i + 1) * size));
      features.set(one, i * featureCount);
    }
    return features;
  }

  return {
    encode(pixels, count, signal) {
      if (isClosed) throw new TypeError('the backend is closed');
      const expected = count * 3 * vision.imageSize ** 2;
      if (pixels.length !== expected) {
        throw new RangeError(`${count} images need ${expected} values, got ${pixels.length}`);
      }
      // Passes queue up behind each other: two at once would only slow each other down.
      const turn = last.then(() => encodeAll(pixels, count, signal));
      last = turn.catch(() => undefined);
      return turn;
    },
    async close() {
      isClosed = true;
      await last;
      const session = await loading?.catch(() => undefined);
      session?.close();
    },
  };
}
