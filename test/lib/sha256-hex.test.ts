import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { sha256Hex } from '../../src/lib/sha256-hex.ts';

it('gives the SHA-256 of a part of a buffer in lower-case hex', async () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, i) => i & 255).subarray(17, 290);
  expect(await sha256Hex(bytes)).toBe(createHash('sha256').update(bytes).digest('hex'));
});
