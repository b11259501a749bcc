import { describe, expect, it } from 'vitest';
import { createRowRing, ringCapacity } from '../../src/engine/row-ring.ts';
import { forSeeds } from '../support/seeded-random.ts';

describe('row ring', () => {
  it('sizes the local buffer to the window, the alignment and the longest step', () => {
    expect(ringCapacity({ windowTokens: 1024, chunkTokens: 256 })).toBe(1408);
    expect(ringCapacity({ windowTokens: 512, chunkTokens: 256 })).toBe(896);
    // 1 + 127 + 128 fills two blocks exactly: the spare entry takes a third.
    expect(ringCapacity({ windowTokens: 2, chunkTokens: 128 })).toBe(384);
  });

  it('moves by whole blocks and keeps the window before every step, whatever the steps', async () => {
    await forSeeds(150, (random) => {
      const options = {
        windowTokens: random.integer(1, 40),
        chunkTokens: random.integer(1, 40),
        alignTokens: random.pick([1, 4, 16, 128]),
      };
      const ring = createRowRing(options);
      const capacity = ringCapacity(options);
      // The oracle: the positions the local buffer really holds, by index; null where a filler is.
      let held: (number | null)[] = [];
      const firstReal = (): number => held.find((position) => position !== null) ?? ring.length;
      for (let step = 0; step < 60; step++) {
        if (random.chance(0.05)) {
          const length = random.integer(0, 300);
          const windowStart = Math.max(0, length - options.windowTokens + 1);
          const localFrom = random.integer(0, windowStart);
          ring.restore(length, localFrom);
          expect(windowStart - ring.origin).toBeLessThan(options.alignTokens);
          held = Array.from({ length: length - ring.origin }, (_, at) =>
            ring.origin + at < localFrom ? null : ring.origin + at,
          );
        } else if (random.chance(0.1)) {
          const before = ring.length;
          const length = random.integer(0, before);
          const firstHeld = firstReal();
          const kept = ring.truncate(length);
          const windowStart = Math.max(0, length - options.windowTokens + 1);
          expect(kept).toBe(windowStart >= firstHeld ? length : 0);
          held = kept === 0 ? [] : held.slice(0, held.length - (before - kept));
        } else {
          const count = random.chance(0.6) ? 1 : random.integer(1, options.chunkTokens);
          const shift = ring.reserve(count);
          expect(shift % options.alignTokens).toBe(0);
          expect(shift).toBeLessThanOrEqual(held.length);
          held = held.slice(shift);
          for (let at = 0; at < count; at++) held.push(ring.length + at);
          ring.advance(count);
          const windowStart = Math.max(0, ring.length - count - options.windowTokens + 1);
          if (windowStart < ring.length - count)
            expect(firstReal()).toBeLessThanOrEqual(windowStart);
        }
        expect(ring.localLength).toBe(held.length);
        expect(ring.localLength).toBeLessThan(capacity);
        expect(ring.origin % options.alignTokens).toBe(0);
        if (held.length > 0) expect(ring.localStart).toBe(firstReal());
      }
    });
  });

  it('compacts while decoding so that few entries before the window are walked', () => {
    const ring = createRowRing({ windowTokens: 100, chunkTokens: 300 });
    for (let start = 0; start < 900; start += 300) {
      ring.reserve(300);
      ring.advance(300);
    }
    for (let step = 0; step < 400; step++) {
      ring.reserve(1);
      ring.advance(1);
      expect(ring.localLength).toBeLessThanOrEqual(99 + 64 + 128);
    }
  });

  it('cuts back a few tokens for free right after a decode compaction', () => {
    const ring = createRowRing({ windowTokens: 100, chunkTokens: 64 });
    for (let step = 0; step < 1000; step++) {
      const shift = ring.reserve(1);
      ring.advance(1);
      if (shift > 0) expect(ring.keepable(ring.length - 60)).toBe(ring.length - 60);
    }
  });

  it('empties the row when the window before the cut is gone', () => {
    const ring = createRowRing({ windowTokens: 100, chunkTokens: 64 });
    for (let step = 0; step < 1000; step++) {
      ring.reserve(1);
      ring.advance(1);
    }
    expect(ring.truncate(300)).toBe(0);
    expect([ring.length, ring.origin, ring.localLength]).toEqual([0, 0, 0]);
  });

  it('copies only what the source still holds', () => {
    const options = { windowTokens: 100, chunkTokens: 64 };
    const source = createRowRing(options);
    const target = createRowRing(options);
    for (let step = 0; step < 1000; step++) {
      source.reserve(1);
      source.advance(1);
    }
    target.copyFrom(source, 990);
    expect([target.length, target.origin]).toEqual([990, source.origin]);
    expect(() => target.copyFrom(source, 300)).toThrow(RangeError);
  });

  it('does not count on what a restored row never had', () => {
    const options = { windowTokens: 100, chunkTokens: 64 };
    const ring = createRowRing(options);
    ring.restore(1000, 901);
    expect([ring.length, ring.origin, ring.localStart]).toEqual([1000, 896, 901]);
    expect([ring.keepable(1000), ring.keepable(999)]).toEqual([1000, 0]);
    const copy = createRowRing(options);
    copy.copyFrom(ring, 1000);
    expect(copy.keepable(999)).toBe(0);
    ring.restore(1000, 200);
    expect([ring.localStart, ring.keepable(995), ring.keepable(994)]).toEqual([896, 995, 0]);
    ring.truncate(0);
    expect([ring.length, ring.origin, ring.localStart]).toEqual([0, 0, 0]);
  });

  it('refuses counts and lengths out of range', () => {
    const ring = createRowRing({ windowTokens: 4, chunkTokens: 8 });
    expect(() => ring.reserve(0)).toThrow(RangeError);
    expect(() => ring.reserve(9)).toThrow(RangeError);
    expect(() => ring.truncate(1)).toThrow(RangeError);
    expect(() => ring.restore(-1, 0)).toThrow(RangeError);
    expect(() => ring.restore(10, 8)).toThrow(RangeError);
    expect(() => ring.restore(10, Number.NaN)).toThrow(RangeError);
    expect(ring.length).toBe(0);
    expect(() => createRowRing({ windowTokens: 0, chunkTokens: 8 })).toThrow(RangeError);
  });
});
