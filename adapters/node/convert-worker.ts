import { parentPort, workerData } from 'node:worker_threads';
import { ServeError } from '../../src/errors.ts';
import { convertArray } from '../../src/flax/convert-array.ts';
import type { FlaxArray } from '../../src/flax/flax-tensors.ts';
import {
  PIECES_AHEAD,
  type FromWorker,
  type ToWorker,
  type WorkerSetup,
} from './convert-protocol.ts';
import { openModelSource } from './open-source.ts';
import { unzstd } from './zstd.ts';

/** A thread that converts one array at a time. */
const { location, token } = workerData as WorkerSetup;
const { source } = openModelSource(location, token ?? undefined);
let stop = new AbortController();
/** Pieces that may be sent before another was taken. */
const credit: { left: number; wake: (() => void) | null } = { left: 0, wake: null };

function send(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

function onRead(bytes: number): void {
  send({ type: 'read', bytes });
}

async function convert(flax: FlaxArray, signal: AbortSignal): Promise<void> {
  for await (const piece of convertArray(flax, { source, unzstd, onRead, signal })) {
    while (credit.left <= 0) {
      await new Promise<void>((resolve) => {
        credit.wake = resolve;
      });
    }
    signal.throwIfAborted();
    credit.left--;
    send({ type: 'piece', bytes: piece }, [piece.buffer]);
  }
}

/** Errors lose their class on the way; ours travel as plain data. */
function plain(error: unknown): unknown {
  if (!ServeError.is(error)) return error;
  return { code: error.code, message: error.message };
}

parentPort?.on('message', (message: ToWorker) => {
  if (message.type === 'convert') {
    stop = new AbortController();
    credit.left = PIECES_AHEAD;
    convert(message.flax, stop.signal).then(
      () => send({ type: 'done' }),
      (error: unknown) => send({ type: 'failed', error: plain(error) }),
    );
    return;
  }
  if (message.type === 'stop') stop.abort(new DOMException('stopped', 'AbortError'));
  credit.left++;
  credit.wake?.();
});
