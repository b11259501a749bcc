import { closeSync, openSync, writeSync } from 'node:fs';

/** Writes a file front to back; memory stays with the caller. */
export interface FileSink {
  readonly sizeBytes: number;
  readonly write: (bytes: Uint8Array) => void;
  /** Zeros up to the next multiple of `alignment`. */
  readonly pad: (alignment: number) => void;
  readonly close: () => void;
}

export function createFileSink(path: string): FileSink {
  const file = openSync(path, 'w');
  let sizeBytes = 0;
  const write = (bytes: Uint8Array): void => {
    let done = 0;
    while (done < bytes.byteLength) {
      done += writeSync(file, bytes, done, bytes.byteLength - done);
    }
    sizeBytes += bytes.byteLength;
  };
  return {
    get sizeBytes() {
      return sizeBytes;
    },
    write,
    pad: (alignment) => write(new Uint8Array((alignment - (sizeBytes % alignment)) % alignment)),
    close: () => closeSync(file),
  };
}

/** The bytes behind any typed array, without a copy. */
export function bytesOf(array: ArrayBufferView): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}
