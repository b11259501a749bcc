/** Ranged reads over what can only be made from front to back. */
export interface PieceReader {
  /** One read at a time; one that goes back begins anew. */
  read(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export function createPieceReader(start: () => AsyncGenerator<Uint8Array>): PieceReader {
  let pieces: AsyncGenerator<Uint8Array> | null = null;
  let piece: Uint8Array = new Uint8Array(0);
  /** Where `piece` begins. */
  let pieceStart = 0;
  let last: Promise<void> = Promise.resolve();

  async function close(): Promise<void> {
    const open = pieces;
    pieces = null;
    piece = new Uint8Array(0);
    pieceStart = 0;
    await open?.return(undefined);
  }

  async function readNow(offset: number, target: Uint8Array): Promise<void> {
    if (offset < pieceStart) await close();
    pieces ??= start();
    for (let done = 0; done < target.length;) {
      const from = offset + done - pieceStart;
      if (from < piece.length) {
        const part = piece.subarray(from, from + target.length - done);
        target.set(part, done);
        done += part.length;
        continue;
      }
      const next = await pieces.next();
      if (next.done === true) throw new RangeError(`it ends before ${offset + target.length}`);
      pieceStart += piece.length;
      piece = next.value;
    }
  }

  return {
    read(offset, target) {
      const reading = last.then(() => readNow(offset, target));
      last = reading.catch(() => undefined);
      return reading;
    },
    async close() {
      await last;
      await close();
    },
  };
}
