import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { nodeHmac } from '../../adapters/node/sha256.ts';
import { createKeyedHash } from '../../src/lib/keyed-hash.ts';

const KEY = 'a key of 20 letters!';

describe('a keyed hash', () => {
  it('is HMAC-SHA-256 under a key made for its use, on the Web and in Node.js alike', async () => {
    const derived = createHmac('sha256', KEY).update('gemlet pages 1').digest();
    for (const length of [0, 1, 64, 100_000]) {
      const bytes = new Uint8Array(length).fill(7);
      const expected = createHmac('sha256', derived).update(bytes).digest('hex');
      expect(await createKeyedHash(KEY, 'pages')(bytes)).toBe(expected);
      expect(await createKeyedHash(KEY, 'pages', nodeHmac)(bytes)).toBe(expected);
    }
  });

  it('differs with key and use, and takes no key that can be guessed', async () => {
    const bytes = new Uint8Array(3);
    const hashes = [
      createKeyedHash(KEY, 'pages'),
      createKeyedHash(KEY, 'sessions'),
      createKeyedHash(`${KEY}!`, 'pages'),
    ].map(async (hash) => hash(bytes));
    expect(new Set(await Promise.all(hashes)).size).toBe(3);
    expect(() => createKeyedHash('123456789012345', 'pages')).toThrow('16 characters or more');
  });
});
