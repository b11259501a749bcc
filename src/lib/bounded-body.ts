/**
 * The chunks of a body of at most `maxBytes`; a longer one is given up.
 * @throws RangeError when it is longer; what the body failed with
 */
export async function* boundedChunks(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (body === null) return;
  const reader = body.getReader();
  let sizeBytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      sizeBytes += value.length;
      if (sizeBytes > maxBytes) throw new RangeError(`a body has more than ${maxBytes} bytes`);
      yield value;
    }
  } finally {
    // Nothing happens where it was read to its end. Not awaited: who goes on sending must not be waited for.
    void reader.cancel().catch(() => undefined);
  }
}

/**
 * Reads a body of at most `maxBytes`; a longer one is given up.
 * @throws RangeError when it is longer; what the body failed with
 */
export async function boundedBytes(
  response: Response,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of boundedChunks(response.body, maxBytes)) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
  }
  return join(chunks, sizeBytes);
}

/** The same as text. @throws RangeError, what the body failed with */
export async function boundedText(response: Response, maxBytes: number): Promise<string> {
  return new TextDecoder().decode(await boundedBytes(response, maxBytes));
}

/** The text that a body begins with, of at most `maxBytes`; the rest is given up. @throws what the body failed with */
export async function beginningOf(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of boundedChunks(response.body, Number.POSITIVE_INFINITY)) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes >= maxBytes) break;
  }
  return new TextDecoder().decode(join(chunks, sizeBytes).subarray(0, maxBytes));
}

function join(chunks: readonly Uint8Array[], sizeBytes: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sizeBytes);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
