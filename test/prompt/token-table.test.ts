import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createTokenTable,
  extendHash,
  hashBytes,
  spanHash,
  type TokenTable,
} from '../../src/prompt/token-table.ts';

const encoder = new TextEncoder();

function tableOf(spellings: readonly string[], isFindable?: (id: number) => boolean): TokenTable {
  const offsets = new Int32Array(spellings.length + 1);
  for (const [id, spelling] of spellings.entries()) {
    offsets[id + 1] = (offsets[id] ?? 0) + encoder.encode(spelling).length;
  }
  return createTokenTable(encoder.encode(spellings.join('')), offsets, isFindable ?? (() => true));
}

function find(table: TokenTable, spelling: string): number {
  const bytes = encoder.encode(spelling);
  return table.find(hashBytes(bytes, 0, bytes.length), bytes, 0, bytes.length);
}

describe('the token table', () => {
  test('finds every token and nothing else', () => {
    const spelling = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '▁'), maxLength: 8 });
    fc.assert(
      fc.property(fc.uniqueArray(spelling, { maxLength: 200 }), spelling, (spellings, other) => {
        const table = tableOf(spellings);
        for (const [id, token] of spellings.entries()) expect(find(table, token)).toBe(id);
        expect(find(table, other)).toBe(spellings.indexOf(other));
      }),
      { seed: 31, numRuns: 300 },
    );
  });

  test('does not find tokens that take no part', () => {
    const table = tableOf(['a', 'bbbb'], (id) => id === 0);
    expect(find(table, 'bbbb')).toBe(-1);
    expect(table.maxBytes).toBe(1);
  });

  test('compares bytes, so a wrong hash or a colliding one finds nothing', () => {
    const table = tableOf(['abc']);
    const bytes = encoder.encode('abd');
    expect(table.find(hashBytes(encoder.encode('abc'), 0, 3), bytes, 0, 3)).toBe(-1);
  });

  test('hashes a span from prefix hashes as it hashes the span alone', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.nat(40), fc.nat(40), (bytes, a, b) => {
        const start = Math.min(a, b, bytes.length);
        const end = Math.min(Math.max(a, b), bytes.length);
        const prefix = new Int32Array(bytes.length + 1);
        for (const [at, byte] of bytes.entries())
          prefix[at + 1] = extendHash(prefix[at] ?? 0, byte);
        expect(spanHash(prefix, start, end)).toBe(hashBytes(bytes, start, end));
      }),
      { seed: 32, numRuns: 1000 },
    );
  });
});
