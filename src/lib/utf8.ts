/** UTF-8 by hand, where `TextDecoder` counts invalid bytes differently than we must. */

/** Bytes of U+FFFD. */
const REPLACEMENT = [0xef, 0xbf, 0xbd] as const;

/**
 * Length of the well-formed sequence at `at`, by the table of the Unicode standard (no overlong
 * forms, no surrogates). 0 when the byte there starts none; -1 when `end` cuts off a sequence that
 * is well-formed so far.
 */
export function utf8SequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const lead = bytes[at] as number;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  for (let k = 1; k < length; k++) {
    if (at + k >= end) return -1;
    const byte = bytes[at + k] as number;
    let lowest = 0x80;
    let highest = 0xbf;
    if (k === 1) {
      if (lead === 0xe0) lowest = 0xa0;
      else if (lead === 0xed) highest = 0x9f;
      else if (lead === 0xf0) lowest = 0x90;
      else if (lead === 0xf4) highest = 0x8f;
    }
    if (byte < lowest || byte > highest) return 0;
  }
  return length;
}

/** Whether bytes[from, to) is well-formed UTF-8. */
export function isUtf8(bytes: Uint8Array, from: number, to: number): boolean {
  let at = from;
  while (at < to) {
    const length = utf8SequenceLength(bytes, at, to);
    if (length <= 0) return false;
    at += length;
  }
  return true;
}

/** Collects bytes and reads them as text once. */
export interface Utf8Writer {
  append(bytes: Uint8Array, from?: number, to?: number): void;
  /** Appends U+FFFD `count` times. */
  appendReplacement(count: number): void;
  /** The text so far; a leading U+FEFF is kept. The writer is empty afterwards. */
  take(): string;
}

export function createUtf8Writer(capacity = 256): Utf8Writer {
  // Without `ignoreBOM` a U+FEFF at the start would vanish.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let buffer = new Uint8Array(capacity);
  let length = 0;

  function reserve(extra: number): void {
    if (length + extra <= buffer.length) return;
    const grown = new Uint8Array(Math.max(buffer.length * 2, length + extra));
    grown.set(buffer.subarray(0, length));
    buffer = grown;
  }

  return {
    append(bytes, from = 0, to = bytes.length) {
      reserve(to - from);
      // Pieces are mostly a few bytes long, where `set` with `subarray` costs more than the loop.
      for (let at = from; at < to; at++) buffer[length++] = bytes[at] as number;
    },
    appendReplacement(count) {
      reserve(count * REPLACEMENT.length);
      for (let k = 0; k < count; k++) {
        for (const byte of REPLACEMENT) buffer[length++] = byte;
      }
    },
    take() {
      const text = decoder.decode(buffer.subarray(0, length));
      length = 0;
      return text;
    },
  };
}
