const LINE_END = /\r\n|\r|\n/;

/**
 * The data of each event of a server-sent event stream, pulled one by one. Characters and line ends
 * may be split anywhere; comments, ids and event names are skipped. An event whose last line has no
 * end was cut off and is left out.
 * @param onBytes called whenever something arrives, comments included
 * @param maxCharacters of one event, all its lines together
 * @throws RangeError for a longer event
 */
export async function* readSse(
  stream: ReadableStream<Uint8Array>,
  onBytes: () => void = () => undefined,
  maxCharacters: number = Number.POSITIVE_INFINITY,
): AsyncGenerator<string, void, undefined> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  /** A line end that was `\r` so far: a `\n` that follows belongs to it. */
  let endsInReturn = false;
  let data: string[] = [];
  /** Characters of `data`. */
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      onBytes();
      let text = decoder.decode(value, { stream: true });
      if (text === '') continue;
      if (endsInReturn && text.startsWith('\n')) text = text.slice(1);
      endsInReturn = text.endsWith('\r');
      const [head = '', ...lines] = text.split(LINE_END);
      rest += head;
      for (const next of lines) {
        if (rest === '') {
          if (data.length > 0) yield data.join('\n');
          data = [];
          length = 0;
        } else {
          const line = dataOf(rest);
          if (line !== null) data.push(line);
          length += line?.length ?? 0;
        }
        rest = next;
      }
      if (length + rest.length > maxCharacters) {
        throw new RangeError(`an event has more than ${maxCharacters} characters`);
      }
    }
    // Some servers close right after the last line.
    if (rest === '' && data.length > 0) yield data.join('\n');
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function dataOf(line: string): string | null {
  if (line === 'data') return '';
  if (!line.startsWith('data:')) return null;
  return line.startsWith('data: ') ? line.slice(6) : line.slice(5);
}
