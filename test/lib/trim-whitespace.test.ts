import { describe, expect, test } from 'vitest';
import { trimWhitespace } from '../../src/lib/trim-whitespace.ts';

describe('trimming', () => {
  test('takes what Python calls whitespace from both ends only', () => {
    expect(trimWhitespace(' \t\r\n\v\f a b \x1c\x1f\x85\u00a0\u3000')).toBe('a b');
    expect(trimWhitespace('\u2028\u2029\u202f\u205f\u1680x\u2000\u200a')).toBe('x');
  });

  test('leaves what only JavaScript calls whitespace, and zero-width characters', () => {
    expect(trimWhitespace('\ufeffx\u200b')).toBe('\ufeffx\u200b');
  });

  test('makes text of whitespace alone empty', () => {
    expect(trimWhitespace(' \n ')).toBe('');
    expect(trimWhitespace('')).toBe('');
  });
});
