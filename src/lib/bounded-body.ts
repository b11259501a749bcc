/**
 * Reads a body of at most `maxBytes`; a longer one is given up.
 * @throws RangeError when it is longer; what the body failed with
 */
export async function boundedBytes(
  response: Response,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (response.body === null) return new Uint8Array(0);
  const reader = response.body.getReader();
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      sizeBytes += value.length;
      if (sizeBytes > maxBytes) throw new RangeError(`a body has more than ${maxBytes} bytes`);
      chunks.push(value);
    }
  } finally {
    // Nothing happens where it was read to its end.
    void reader.cancel().catch(() => undefined);
  }
  const bytes = new Uint8Array(sizeBytes);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** The same as text. @throws RangeError, what the body failed with */
export async function boundedText(response: Response, maxBytes: number): Promise<string> {
  return new TextDecoder().decode(await boundedBytes(response, maxBytes));
}
