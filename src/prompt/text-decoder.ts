import { createUtf8Writer, utf8SequenceLength } from '../lib/utf8.ts';

/** Turns the bytes of a token stream into text as soon as they form whole characters. */
export interface StreamTextDecoder {
  /** Text that is certain; the bytes of a character still incomplete are held back. */
  push(bytes: Uint8Array): string;
  /** Ends the text: every byte still held back becomes one U+FFFD. */
  flush(): string;
}

/**
 * Every byte that belongs to no character becomes one U+FFFD. The texts pushed plus the flush equal
 * `Tokenizer.decode`, except for a run of byte tokens that is invalid in part: the reference
 * replaces all of such a run, which a stream cannot know before it ends.
 */
export function createTextDecoder(): StreamTextDecoder {
  const writer = createUtf8Writer();
  let held: Uint8Array = new Uint8Array(0);

  function take(bytes: Uint8Array, isLast: boolean): string {
    let at = 0;
    let wholeFrom = 0;
    while (at < bytes.length) {
      const length = utf8SequenceLength(bytes, at, bytes.length);
      if (length > 0) {
        at += length;
        continue;
      }
      if (length < 0 && !isLast) break;
      writer.append(bytes, wholeFrom, at);
      writer.appendReplacement(1);
      at++;
      wholeFrom = at;
    }
    writer.append(bytes, wholeFrom, at);
    held = bytes.slice(at);
    return writer.take();
  }

  return {
    push(bytes) {
      if (held.length === 0) return take(bytes, false);
      const joined = new Uint8Array(held.length + bytes.length);
      joined.set(held);
      joined.set(bytes, held.length);
      return take(joined, false);
    },
    flush() {
      return take(held, true);
    },
  };
}
