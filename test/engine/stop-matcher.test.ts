import { describe, expect, it } from 'vitest';
import { createStopMatcher } from '../../src/engine/stop-matcher.ts';
import { forSeeds } from '../support/seeded-random.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

/** The plain version: look at the whole text after every byte. */
function oracle(stops: readonly string[], whole: string): { text: string; stop: number | null } {
  for (let end = 1; end <= whole.length; end++) {
    let best: number | null = null;
    for (const [index, stop] of stops.entries()) {
      const isLonger = best === null || stop.length > (stops[best]?.length ?? 0);
      if (isLonger && whole.slice(0, end).endsWith(stop)) best = index;
    }
    if (best !== null)
      return { text: whole.slice(0, end - (stops[best]?.length ?? 0)), stop: best };
  }
  return { text: whole, stop: null };
}

describe('stop matcher', () => {
  it('finds a stop string split over tokens and cuts inside a token', () => {
    const matcher = createStopMatcher([bytes('\n\nHuman:')]);
    expect(text(matcher.push(bytes('Hi.\n')).released)).toBe('Hi.');
    expect(text(matcher.push(bytes('\nHum')).released)).toBe('');
    const last = matcher.push(bytes('an: and more'));
    expect([text(last.released), last.stopIndex]).toEqual(['', 0]);
  });

  it('gives held bytes back when the stop string does not come', () => {
    const matcher = createStopMatcher([bytes('STOP')]);
    expect(text(matcher.push(bytes('xST')).released)).toBe('x');
    expect(text(matcher.push(bytes('ay')).released)).toBe('STay');
    expect(text(matcher.push(bytes('STO')).released)).toBe('');
    expect(text(matcher.flush())).toBe('STO');
    expect(text(matcher.flush())).toBe('');
  });

  it('lets the first complete stop string win and the longest of those that end together', () => {
    expect(createStopMatcher([bytes('ab'), bytes('a')]).push(bytes('xab')).stopIndex).toBe(1);
    const result = createStopMatcher([bytes('c'), bytes('abc')]).push(bytes('xabc'));
    expect([text(result.released), result.stopIndex]).toEqual(['x', 1]);
  });

  it('passes everything through without stop strings', () => {
    const matcher = createStopMatcher([]);
    const data = bytes('anything');
    expect(matcher.push(data)).toEqual({ released: data, stopIndex: null });
    expect(matcher.flush().length).toBe(0);
  });

  it('refuses an empty stop string', () => {
    expect(() => createStopMatcher([bytes('')])).toThrow(RangeError);
  });

  it('agrees with a search over the whole text, however it is cut into tokens', async () => {
    await forSeeds(3000, (random) => {
      const word = (longest: number): string =>
        Array.from({ length: random.integer(1, longest) }, () => random.pick(['a', 'b', 'c'])).join(
          '',
        );
      const stops = Array.from({ length: random.integer(1, 4) }, () => word(6));
      const whole = word(40);
      const expected = oracle(stops, whole);
      const matcher = createStopMatcher(stops.map(bytes));
      let out = '';
      let stop: number | null = null;
      for (let at = 0; at < whole.length && stop === null;) {
        const end = Math.min(whole.length, at + random.integer(0, 7));
        const result = matcher.push(bytes(whole.slice(at, end)));
        out += text(result.released);
        stop = result.stopIndex;
        at = end;
        // Held back is never more than what may still become a stop string.
        const held = whole.slice(out.length, at);
        if (stop === null) expect(held === '' || stops.some((s) => s.startsWith(held))).toBe(true);
      }
      if (stop === null) out += text(matcher.flush());
      expect({ text: out, stop }).toEqual(expected);
    });
  });
});
