/**
 * Lines of a stream of UTF-8, without their ends; what follows the last end is left out.
 * @throws RangeError for a line of more than `maxCharacters`
 */
export async function* readLines(
  stream: ReadableStream<Uint8Array>,
  maxCharacters: number,
): AsyncGenerator<string, void, undefined> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  /** The line that is not whole yet, in pieces: joined once, however many they are. */
  let pieces: string[] = [];
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = decoder.decode(value, { stream: true }).split('\n');
      const rest = lines.pop() ?? '';
      for (const line of lines) {
        yield pieces.join('') + line;
        pieces = [];
        length = 0;
      }
      pieces.push(rest);
      length += rest.length;
      if (length > maxCharacters) {
        throw new RangeError(`a line has more than ${maxCharacters} characters`);
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
