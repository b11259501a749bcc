import { describe, expect, it } from 'vitest';
import type { ObjectSource } from '../../src/weights/object-source.ts';
import { PIECE_BYTES, readPieces, readSpan } from '../../src/weights/ranged-read.ts';

/** An endless object whose byte at `i` is `i % 251`; counts reads in flight. */
function patternSource() {
  const state = { lengths: [] as number[], most: 0 };
  let inFlight = 0;
  const source: ObjectSource = {
    name: 'pattern:',
    head: async () => null,
    async read(_key, offset, target) {
      state.most = Math.max(state.most, ++inFlight);
      state.lengths.push(target.length);
      await new Promise((resolve) => setImmediate(resolve));
      for (let i = 0; i < target.length; i += 4096) target[i] = (offset + i) % 251;
      inFlight--;
    },
    close: async () => undefined,
  };
  return { source, state };
}

describe('readPieces', () => {
  it('covers the span in whole units of at most a piece, several in flight', async () => {
    const { source, state } = patternSource();
    const unit = 5 * 2 ** 20;
    const span = { key: 'k', offset: 1000, sizeBytes: 10 * unit };
    const covered = new Set<number>();
    await readPieces(source, span, unit, (piece, at) => {
      expect(piece.length % unit).toBe(0);
      expect(piece.length).toBeLessThanOrEqual(PIECE_BYTES);
      expect(piece[0]).toBe((1000 + at) % 251);
      expect(piece[4096]).toBe((1000 + at + 4096) % 251);
      for (let i = at; i < at + piece.length; i += unit) covered.add(i / unit);
    });
    expect(covered.size).toBe(10);
    expect(state.lengths).toEqual([3, 3, 3, 1].map((units) => units * unit));
    expect(state.most).toBe(4);
  });

  it('reads a unit larger than a piece whole', async () => {
    const { source, state } = patternSource();
    const unit = PIECE_BYTES + 8;
    await readPieces(source, { key: 'k', offset: 0, sizeBytes: unit }, unit, () => undefined);
    expect(state.lengths).toEqual([unit]);
  });

  it('reads one ahead where bytes are local', async () => {
    const { source, state } = patternSource();
    const local = { ...source, readSync: () => undefined };
    await readPieces(
      local,
      { key: 'k', offset: 0, sizeBytes: 5 * PIECE_BYTES },
      1,
      () => undefined,
    );
    expect(state.most).toBe(2);
  });
});

describe('readSpan', () => {
  it('fills the target piece by piece', async () => {
    const { source, state } = patternSource();
    const target = new Uint8Array(PIECE_BYTES + 4096 + 1);
    await readSpan(source, { key: 'k', offset: 77, sizeBytes: target.length }, target);
    expect(state.lengths).toEqual([PIECE_BYTES, 4097]);
    expect([target[0], target[PIECE_BYTES], target.at(-1)]).toEqual(
      [0, PIECE_BYTES, PIECE_BYTES + 4096].map((at) => (77 + at) % 251),
    );
  });
});
