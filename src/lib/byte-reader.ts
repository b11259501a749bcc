/** Reads a stream of bytes in pieces of exactly the sizes asked for. */
export interface ByteReader {
  /** @throws RangeError when the stream ends before; what the stream failed with */
  exactly(count: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Whether nothing follows. */
  isAtEnd(): Promise<boolean>;
  /** Gives the stream up. */
  cancel(reason: unknown): Promise<void>;
}

export function createByteReader(stream: ReadableStream<Uint8Array>): ByteReader {
  const reader = stream.getReader();
  let rest: Uint8Array = new Uint8Array(0);

  async function more(): Promise<boolean> {
    while (rest.length === 0) {
      const { done, value } = await reader.read();
      if (done) return false;
      rest = value;
    }
    return true;
  }

  return {
    async exactly(count) {
      const bytes = new Uint8Array(count);
      let filled = 0;
      while (filled < count) {
        if (!(await more())) {
          throw new RangeError(`the body ends after ${filled} of ${count} bytes`);
        }
        const piece = rest.subarray(0, count - filled);
        bytes.set(piece, filled);
        filled += piece.length;
        rest = rest.subarray(piece.length);
      }
      return bytes;
    },
    isAtEnd: async () => !(await more()),
    cancel: (reason) => reader.cancel(reason),
  };
}
