import { describe, expect, test } from 'vitest';
import {
  ADDED,
  readVocabulary,
  SPECIAL,
  writeVocabulary,
} from '../../src/prompt/vocabulary-format.ts';
import { thrownBy } from '../support/thrown-by.ts';

const FIELDS = {
  followsFromVocabulary: true,
  sourceSha256: Uint8Array.from({ length: 32 }, (_, k) => k),
  specialIds: [0, 1, 2, 3, 4, 5, -1, -1, 6],
  joinsSpace: Uint8Array.from({ length: 256 }, (_, byte) => (byte % 7 === 0 ? 1 : 0)),
  kinds: Uint8Array.of(1, 1, 1, 1, 1, SPECIAL | ADDED, 0, ADDED),
  merges: Int32Array.of(6, 7, 7, 6),
  lengths: Uint8Array.of(1, 1, 1, 1, 1, 1, 0, 2),
  text: new TextEncoder().encode('abcdefgh'),
};

describe('the vocabulary file', () => {
  test('reads back what was written, from anywhere in a buffer', () => {
    const written = writeVocabulary(FIELDS);
    const shifted = new Uint8Array(written.length + 3);
    shifted.set(written, 3);
    expect(readVocabulary(shifted.subarray(3))).toEqual(FIELDS);
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array, string]>([
    ['another file', () => new TextEncoder().encode('{"version": "1.0"}'), 'GEMVOCAB'],
    ['an empty file', (bytes) => bytes.subarray(0, 0), 'GEMVOCAB'],
    ['half a header', (bytes) => bytes.subarray(0, 50), 'ends after 50 bytes'],
    [
      'a file cut short',
      (bytes) => bytes.subarray(0, -1),
      `it has ${writeVocabulary(FIELDS).length - 1}`,
    ],
    ['a newer version', (bytes) => withByte(bytes, 8, 2), 'version 2'],
    ['a merge of no token', (bytes) => withByte(bytes, 132 + 36, 200), 'a merge names id 200'],
    ['a range of no token', (bytes) => withByte(bytes, 132 + 4, 100), 'ends at id 100'],
    ['a control token of no token', (bytes) => withByte(bytes, 64, 99), '<bos> has id 99'],
  ])('is refused when it is %s', (_, damage, named) => {
    const error = thrownBy(() => readVocabulary(damage(writeVocabulary(FIELDS))));
    expect(error.code).toBe('invalid_checkpoint');
    expect(error.message).toContain(named);
  });
});

function withByte(bytes: Uint8Array, at: number, value: number): Uint8Array {
  const changed = bytes.slice();
  changed[at] = value;
  return changed;
}
