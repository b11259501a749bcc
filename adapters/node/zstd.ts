import { Readable } from 'node:stream';
import * as zlib from 'node:zlib';
import { Decompress } from 'fzstd';
import type { Unzstd } from '../../src/flax/zstd.ts';

/** Bytes of one unpacked piece. */
const PIECE_BYTES = 2 ** 20;
/** What the JavaScript decoder unpacks at once: it takes all of its input before it gives anything. */
const INPUT_BYTES = 2 ** 12;
/** Most that so little input may become: all zeros in the largest blocks. */
const MAX_READY_BYTES = 2 ** 28;

/** What Node.js has from 22.15 on; its types here are those of 20. */
interface NativeZstd {
  createZstdDecompress(options: { readonly chunkSize: number }): NodeJS.ReadWriteStream;
}

/** zstd of this Node.js, or else in JavaScript, which is several times slower. */
export const unzstd: Unzstd = hasNative(zlib) ? nativeUnzstd(zlib) : portableUnzstd;

function hasNative(library: object): library is NativeZstd {
  return 'createZstdDecompress' in library;
}

function nativeUnzstd(native: NativeZstd): Unzstd {
  return async function* unpack(input) {
    const from = Readable.from(input, { objectMode: true });
    const decoder = native.createZstdDecompress({ chunkSize: PIECE_BYTES });
    // `pipe` passes no failures on.
    from.once('error', (error) => (decoder as unknown as Readable).destroy(error));
    from.pipe(decoder);
    try {
      for await (const piece of decoder) yield piece as Uint8Array;
    } finally {
      from.destroy();
      (decoder as unknown as Readable).destroy();
    }
  };
}

/** Exported for tests: what runs on Node.js 20. */
export async function* portableUnzstd(
  input: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  let readyBytes = 0;
  const decoder = new Decompress((piece) => {
    readyBytes += piece.length;
    if (readyBytes > MAX_READY_BYTES) throw new RangeError('it unpacks to too much at once');
    ready.push(piece);
  });
  for await (const piece of input) {
    for (let at = 0; at < piece.length; at += INPUT_BYTES) {
      decoder.push(piece.subarray(at, at + INPUT_BYTES));
      yield* ready.filter(({ length }) => length > 0);
      ready = [];
      readyBytes = 0;
    }
  }
  // Throws where the last frame is not complete.
  decoder.push(new Uint8Array(0), true);
  yield* ready.filter(({ length }) => length > 0);
}
