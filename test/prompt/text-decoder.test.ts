import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createTextDecoder } from '../../src/prompt/text-decoder.ts';

describe('the stream text decoder', () => {
  test('holds back an incomplete character and gives it once whole', () => {
    const decoder = createTextDecoder();
    expect(decoder.push(Uint8Array.of(0x61, 0xf0, 0x9f))).toBe('a');
    expect(decoder.push(Uint8Array.of(0x99))).toBe('');
    expect(decoder.push(Uint8Array.of(0x82, 0x62))).toBe('🙂b');
    expect(decoder.flush()).toBe('');
  });

  test('writes one U+FFFD per invalid byte and goes on', () => {
    const decoder = createTextDecoder();
    expect(decoder.push(Uint8Array.of(0xe2, 0x80))).toBe('');
    expect(decoder.push(Uint8Array.of(0x41, 0xff))).toBe('\ufffd\ufffdA\ufffd');
    expect(decoder.push(Uint8Array.of(0xe2, 0x80))).toBe('');
    expect(decoder.flush()).toBe('\ufffd\ufffd');
    expect(decoder.flush()).toBe('');
  });

  test('keeps U+FEFF, at the start too', () => {
    const decoder = createTextDecoder();
    expect(decoder.push(Uint8Array.of(0xef, 0xbb, 0xbf, 0x41))).toBe('\ufeffA');
  });

  test('gives any text back, however its bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary' }),
        fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }),
        (text, cuts) => {
          const bytes = new TextEncoder().encode(text);
          const decoder = createTextDecoder();
          let decoded = '';
          for (let at = 0, k = 0; at < bytes.length; k++) {
            const size = cuts[k % cuts.length] ?? 1;
            decoded += decoder.push(bytes.subarray(at, at + size));
            at += size;
          }
          expect(decoded + decoder.flush()).toBe(text);
        },
      ),
      { seed: 21, numRuns: 1000 },
    );
  });

  test('gives the same text for any bytes, however they are cut', () => {
    const bytes = fc.uint8Array({ maxLength: 24 });
    fc.assert(
      fc.property(bytes, fc.nat(24), (all, cut) => {
        const whole = createTextDecoder();
        const expected = whole.push(all) + whole.flush();
        const parted = createTextDecoder();
        const decoded =
          parted.push(all.subarray(0, cut)) + parted.push(all.subarray(cut)) + parted.flush();
        expect(decoded).toBe(expected);
      }),
      { seed: 22, numRuns: 2000 },
    );
  });
});
