import { Worker } from 'node:worker_threads';
import { ServeError, type ErrorCode } from '../../src/errors.ts';
import type { ConvertArray } from '../../src/flax/convert-ahead.ts';
import { threadEntry } from './thread-entry.ts';
import type { FromWorker, ToWorker, WorkerSetup } from './convert-protocol.ts';

/** Threads that convert arrays, one each at a time. */
export interface ConvertPool {
  readonly convert: ConvertArray;
  close(): Promise<void>;
}

export interface PoolOptions extends WorkerSetup {
  readonly threads: number;
  /** Told of stored bytes as they are read. */
  readonly onRead: (bytes: number) => void;
}

interface Thread {
  readonly worker: Worker;
  /** Takes what the thread sends. */
  receive: ((message: FromWorker) => void) | null;
  hasEnded: boolean;
}

export function createConvertPool(options: PoolOptions): ConvertPool {
  const { location, token } = options;
  const threads = Array.from({ length: options.threads }, () => startThread({ location, token }));
  const idle = [...threads];
  const waiting: ((thread: Thread) => void)[] = [];

  function free(thread: Thread): void {
    thread.receive = null;
    const next = waiting.shift();
    if (next === undefined) idle.push(thread);
    else next(thread);
  }

  async function takeThread(): Promise<Thread> {
    return idle.pop() ?? new Promise((resolve) => waiting.push(resolve));
  }

  return {
    async *convert(flax, signal) {
      const thread = await takeThread();
      if (signal?.aborted === true || thread.hasEnded) {
        free(thread);
        signal?.throwIfAborted();
        throw new Error('a thread of the conversion ended early');
      }
      const post = (message: ToWorker): void =>
        // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
        thread.worker.postMessage(message);
      const arrived: FromWorker[] = [];
      let wake: (() => void) | null = null;
      const turn = { isRunning: true };
      const next = async (): Promise<FromWorker> => {
        for (;;) {
          const message = arrived.shift();
          if (message !== undefined) return message;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      };
      thread.receive = (message) => {
        if (message.type === 'read') return options.onRead(message.bytes);
        // It can take the next array while what it made of this one waits here.
        if (message.type === 'done' || message.type === 'failed') {
          turn.isRunning = false;
          free(thread);
        }
        arrived.push(message);
        wake?.();
      };
      const stop = (): void => post({ type: 'stop' });
      signal?.addEventListener('abort', stop, { once: true });
      try {
        post({ type: 'convert', flax });
        for (;;) {
          const message = await next();
          if (message.type === 'done') return;
          if (message.type === 'failed') {
            signal?.throwIfAborted();
            throw errorOf(message.error);
          }
          if (message.type !== 'piece') continue;
          yield message.bytes;
          if (turn.isRunning) post({ type: 'taken' });
        }
      } finally {
        signal?.removeEventListener('abort', stop);
        if (turn.isRunning) {
          stop();
          while (turn.isRunning) await next();
        }
      }
    },
    async close() {
      await Promise.all(threads.map(({ worker }) => worker.terminate()));
    },
  };
}

function startThread(setup: WorkerSetup): Thread {
  const worker = new Worker(threadEntry('convert-worker'), { workerData: setup });
  const thread: Thread = { worker, receive: null, hasEnded: false };
  worker.on('message', (message: FromWorker) => thread.receive?.(message));
  // A thread that dies would be waited for without end.
  const onEnd = (error: unknown): void => {
    thread.hasEnded = true;
    thread.receive?.({ type: 'failed', error });
  };
  worker.on('error', onEnd);
  worker.on('exit', () => onEnd(new Error('a thread of the conversion ended early')));
  return thread;
}

function errorOf(error: unknown): unknown {
  const { code, message } = (error ?? {}) as {
    readonly code?: ErrorCode;
    readonly message?: string;
  };
  const isPlain = !(error instanceof Error) && code !== undefined && message !== undefined;
  return isPlain ? new ServeError(code, message) : error;
}
