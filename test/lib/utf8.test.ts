import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createUtf8Writer, isUtf8, utf8SequenceLength } from '../../src/lib/utf8.ts';

/** Bytes that sit at the borders of the rules, mostly. */
const byte = fc.oneof(
  fc.constantFrom(0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf),
  fc.constantFrom(0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff),
  fc.nat(255),
);

function isAcceptedByDecoder(bytes: Uint8Array): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

describe('UTF-8', () => {
  test('is valid exactly where the strict TextDecoder accepts it', () => {
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 6 }), (list) => {
        const bytes = Uint8Array.from(list);
        expect(isUtf8(bytes, 0, bytes.length)).toBe(isAcceptedByDecoder(bytes));
      }),
      { seed: 11, numRuns: 5000 },
    );
  });

  test('tells a sequence cut off from one that is wrong', () => {
    const euro = Uint8Array.of(0xe2, 0x82, 0xac);
    expect(utf8SequenceLength(euro, 0, 3)).toBe(3);
    expect(utf8SequenceLength(euro, 0, 2)).toBe(-1);
    expect(utf8SequenceLength(euro, 1, 3)).toBe(0);
    expect(utf8SequenceLength(Uint8Array.of(0xe2, 0x41), 0, 2)).toBe(0);
    expect(utf8SequenceLength(Uint8Array.of(0xed, 0xa0), 0, 2)).toBe(0);
  });

  test('is written and read back with a leading U+FEFF, and the writer starts anew', () => {
    const writer = createUtf8Writer(1);
    writer.append(new TextEncoder().encode('\ufeffa€'));
    writer.appendReplacement(2);
    expect(writer.take()).toBe('\ufeffa€\ufffd\ufffd');
    writer.append(Uint8Array.of(0x41, 0x42, 0x43), 1, 2);
    expect(writer.take()).toBe('B');
  });
});
