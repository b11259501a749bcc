import { Worker } from 'node:worker_threads';
import type { Completer } from '../../../src/completer.ts';
import { ServeError } from '../../../src/errors.ts';
import { invalidImage } from '../../../src/image/image-error.ts';
import type { PreparePicture } from '../../../src/image/prepare-picture.ts';
import { DEFAULT_IMAGE_LIMITS, type ImageLimits } from '../../../src/image/sniff.ts';
import { createSemaphore } from '../../../src/lib/semaphore.ts';
import { threadEntry } from '../thread-entry.ts';
import type { PictureResult, PictureTask } from './thread.ts';

/** Threads that decode and resize pictures, so that the one that serves never stands still for it. */
export interface PicturePool {
  readonly prepare: PreparePicture;
  close(): Promise<void>;
}

export interface PicturePoolOptions {
  /** Pictures prepared at once; default 2. */
  readonly threads?: number;
  /** Milliseconds that one picture may take; default 10,000. */
  readonly deadlineMs?: number;
  readonly limits?: ImageLimits;
}

const THREADS = 2;
const DEADLINE_MS = 10_000;
/** A thread that has nothing to do this long ends, and its memory with it. */
const IDLE_MS = 30_000;
/** JavaScript's own memory; pixels and decoders lie outside, bounded by the picture's size. */
const HEAP_MB = 256;

/** Threads start with the first picture and keep no process alive. */
export function createPicturePool(options: PicturePoolOptions = {}): PicturePool {
  const { deadlineMs = DEADLINE_MS, limits = DEFAULT_IMAGE_LIMITS } = options;
  const room = createSemaphore(options.threads ?? THREADS);
  /** Threads without a task, and what ends them. */
  const idle = new Map<Worker, NodeJS.Timeout>();
  const all = new Set<Worker>();
  let isClosed = false;

  function start(): Worker {
    const worker = new Worker(threadEntry('pictures/thread'), {
      workerData: { limits },
      // Those of the process may be for its own entry, such as --input-type.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
    });
    worker.unref();
    all.add(worker);
    // Whoever has a task there hears of it itself.
    worker.on('error', () => undefined);
    worker.once('exit', () => {
      all.delete(worker);
      clearTimeout(idle.get(worker));
      idle.delete(worker);
    });
    return worker;
  }

  function take(): Worker {
    for (const [worker, timer] of idle) {
      clearTimeout(timer);
      idle.delete(worker);
      return worker;
    }
    return start();
  }

  function giveBack(worker: Worker): void {
    const timer = setTimeout(() => void worker.terminate(), IDLE_MS);
    timer.unref();
    idle.set(worker, timer);
  }

  async function run(task: PictureTask, signal: AbortSignal | undefined): Promise<PictureResult> {
    const worker = take();
    try {
      const result = await resultOf(worker, task, deadlineMs, signal);
      giveBack(worker);
      return result;
    } catch (error) {
      // Nothing else stops a decoder in its work.
      void worker.terminate();
      throw error;
    }
  }

  return {
    async prepare(file, config, withCrops, signal) {
      if (isClosed) throw new ServeError('draining', 'The server is closing. Retry elsewhere.');
      const task = { file, config, withCrops };
      const result = await room.run(() => run(task, signal), signal);
      if ('images' in result) return result.images;
      throw new ServeError(result.error.code, result.error.message);
    },
    async close() {
      isClosed = true;
      await Promise.all(Array.from(all, (worker) => worker.terminate()));
    },
  };
}

/** @throws ServeError when it takes too long or the thread dies of it; the signal's reason on abort */
function resultOf(
  worker: Worker,
  task: PictureTask,
  deadlineMs: number,
  signal: AbortSignal | undefined,
): Promise<PictureResult> {
  return new Promise((resolve, reject) => {
    const onMessage = (result: PictureResult): void => settle(() => resolve(result));
    const onExit = (): void =>
      settle(() => reject(invalidImage('decoding it took more memory than one picture may.')));
    const onAbort = (): void => settle(() => reject(signal?.reason));
    const timer = setTimeout(
      () =>
        settle(() =>
          reject(
            invalidImage(
              `decoding it took longer than ${deadlineMs / 1000} s: send it smaller, or as a plain baseline JPEG.`,
            ),
          ),
        ),
      deadlineMs,
    );
    function settle(end: () => void): void {
      clearTimeout(timer);
      worker.off('message', onMessage).off('exit', onExit);
      signal?.removeEventListener('abort', onAbort);
      end();
    }
    if (signal?.aborted === true) {
      onAbort();
      return;
    }
    worker.once('message', onMessage).once('exit', onExit);
    signal?.addEventListener('abort', onAbort, { once: true });
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage(task);
  });
}

/** The same completer; closing it ends the threads too. */
export function closingPictures(completer: Completer, pictures: PicturePool): Completer {
  return Object.create(completer, {
    close: {
      async value(): Promise<void> {
        await completer.close();
        await pictures.close();
      },
    },
  }) as Completer;
}
