import { damaged } from './byte-cursor.ts';

/**
 * Decompresses a stream of zstd frames piece by piece, as much as its reader takes; pieces are valid
 * until the next is asked for. Throws anything where the input is no zstd or ends early. Given by the
 * runtime, since no Web standard has it.
 */
export type Unzstd = (input: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** Largest window a frame may ask for, in bytes: what zstd itself takes unless told otherwise. */
const MAX_WINDOW_BYTES = 2 ** 27;
const MAGIC = 0xfd2f_b528;
/** Of a frame's header that is looked at. */
const HEADER_BYTES = 14;

/**
 * Decompresses what must be exactly `sizeBytes`: no more is ever made, however much was packed.
 * @param where for messages
 * @throws ServeError invalid_checkpoint
 */
export async function* unzstdExactly(
  unzstd: Unzstd,
  input: AsyncIterable<Uint8Array>,
  sizeBytes: number,
  where: string,
): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of guarded(unzstd, input, sizeBytes, where)) {
    done += piece.length;
    if (done > sizeBytes) throw damaged(where, `it unpacks to more than ${sizeBytes} bytes`);
    yield piece;
  }
  if (done < sizeBytes) throw damaged(where, `it unpacks to ${done} bytes, not ${sizeBytes}`);
}

/** Decompresses a small structure, whose size is not known before, into one array. */
export async function unzstdSmall(
  unzstd: Unzstd,
  bytes: Uint8Array,
  maxBytes: number,
  where: string,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of guarded(unzstd, once(bytes), maxBytes, where)) {
    total += piece.length;
    if (total > maxBytes) throw damaged(where, `it unpacks to more than ${maxBytes} bytes`);
    pieces.push(piece.slice());
  }
  const whole = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** The decoder's own errors say neither what nor where. */
async function* guarded(
  unzstd: Unzstd,
  input: AsyncIterable<Uint8Array>,
  maxBytes: number,
  where: string,
): AsyncGenerator<Uint8Array> {
  // Errors of reading pass as they are.
  let readFailure: { readonly error: unknown } | null = null;
  const checked = async function* (): AsyncGenerator<Uint8Array> {
    let isFirst = true;
    try {
      for await (const piece of input) {
        if (isFirst) checkWindow(piece, maxBytes, where);
        isFirst = false;
        yield piece;
      }
    } catch (error) {
      readFailure = { error };
      throw error;
    }
  };
  const output = unzstd(checked())[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await output.next();
      } catch (error) {
        const failure = readFailure as { readonly error: unknown } | null;
        if (failure !== null) throw failure.error;
        throw damaged(where, 'it cannot be unpacked as zstd', error);
      }
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await output.return?.();
  }
}

/** Refuses a first frame that would take memory out of proportion. */
function checkWindow(piece: Uint8Array, maxBytes: number, where: string): void {
  if (piece.length < HEADER_BYTES / 2) return;
  const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw damaged(where, 'it is not zstd');
  const flags = view.getUint8(4);
  const isSingle = (flags & 0x20) !== 0;
  if (isSingle) {
    // The window is the content.
    const size = contentSize(view, flags);
    const most = Math.min(maxBytes, MAX_WINDOW_BYTES);
    if (size === null || size <= most) return;
    throw damaged(where, `it claims to unpack to ${size} bytes at once, more than ${most}`);
  }
  const descriptor = view.getUint8(5);
  const base = 2 ** (10 + (descriptor >> 3));
  const window = base + (base / 8) * (descriptor & 7);
  if (window <= MAX_WINDOW_BYTES) return;
  throw damaged(where, `it asks for a window of ${window} bytes`);
}

function contentSize(view: DataView, flags: number): number | null {
  const dictionaryBytes = [0, 1, 2, 4][flags & 3] ?? 0;
  const at = 5 + dictionaryBytes;
  const kind = flags >> 6;
  if (at + 2 ** kind > view.byteLength) return null;
  if (kind === 0) return view.getUint8(at);
  if (kind === 1) return view.getUint16(at, true) + 256;
  return kind === 2 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}
