import { describe, expect, it } from 'vitest';
import { createJsonScan, type JsonLimits } from '../../src/limits/json-scan.ts';
import { ServeError } from '../../src/errors.ts';
import { forSeeds } from '../support/seeded-random.ts';

const LIMITS: JsonLimits = {
  maxJsonDepth: 8,
  maxJsonValues: 20,
  maxJsonStrings: 10,
  maxTextBytes: 100,
};

/** The bound that stopped it, in chunks of `size` bytes; null where none did. */
function boundOf(text: string, limits: Partial<JsonLimits> = {}, size = 3): string | null {
  const scan = createJsonScan({ ...LIMITS, ...limits });
  const bytes = new TextEncoder().encode(text);
  try {
    for (let at = 0; at < bytes.length; at += size) scan.push(bytes.subarray(at, at + size));
  } catch (error) {
    if (ServeError.is(error)) return error.bound ?? 'none';
    throw error;
  }
  return null;
}

const list = (item: string, count: number): string => `[${Array(count).fill(item).join(',')}]`;

describe('a scan of JSON', () => {
  it.each([
    ['numbers', list('1', 18), list('1', 20), 'maxJsonValues'],
    ['objects', list('{}', 9), list('{}', 10), 'maxJsonValues'],
    ['strings', list('""', 10), list('""', 11), 'maxJsonStrings'],
    ['keys', `{${'"k":1,'.repeat(9)}"k":1}`, `{${'"k":1,'.repeat(10)}"k":1}`, 'maxJsonStrings'],
    ['levels', `${'['.repeat(8)}${']'.repeat(8)}`, '['.repeat(9), 'maxJsonDepth'],
    ['text', `"${'x'.repeat(98)}"`, `"${'x'.repeat(99)}"`, 'maxTextBytes'],
    ['space', `[${' '.repeat(98)}]`, `[${' '.repeat(99)}]`, 'maxTextBytes'],
  ])('bounds %s', (_, most, beyond, bound) => {
    for (const size of [1, 2, 3, 1000]) {
      expect(boundOf(most, {}, size)).toBeNull();
      expect(boundOf(beyond, {}, size)).toBe(bound);
    }
  });

  it('counts pictures apart, however they are cut', () => {
    for (const size of [1, 4, 7, 1000]) {
      const url = `data:image/png;base64,${'A'.repeat(500)}`;
      expect(boundOf(`{"url":"${url}"}`, {}, size)).toBeNull();
      expect(
        boundOf(`{"url":"${url.replace('data', 'DATA').replace('/', '\\/')}"}`, {}, size),
      ).toBeNull();
      expect(boundOf(`{"url":"${url.replace('data', 'date')}"}`, {}, size)).toBe('maxTextBytes');
      // Text that only begins like a picture.
      expect(boundOf(`{"url":"${url}\\" and more"}`, {}, size)).toBe('maxTextBytes');
      expect(boundOf(`"${'d'.repeat(60)}data:" "${'d'.repeat(60)}`, {}, size)).toBe('maxTextBytes');
    }
  });

  it('sees the ends of strings as the parser does, wherever they are cut', async () => {
    await forSeeds(200, (random) => {
      const words = ['\\', '"', '[', '{', ',', 'data:', 'x', '\n', 'ж'];
      const texts = Array.from({ length: random.integer(1, 4) }, () =>
        Array.from({ length: random.integer(0, 9) }, () => random.pick(words)).join(''),
      );
      const text = JSON.stringify(texts);
      const size = random.integer(1, 6);
      const exact = {
        maxJsonStrings: texts.length,
        maxJsonValues: texts.length + 1,
        maxJsonDepth: 1,
        maxTextBytes: 1e6,
      };
      expect(boundOf(text, exact, size)).toBeNull();
      const fewer = { ...exact, maxJsonStrings: texts.length - 1 };
      expect(boundOf(text, fewer, size)).toBe('maxJsonStrings');
    });
  });
});
