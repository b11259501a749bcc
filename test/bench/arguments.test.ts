import { describe, expect, it } from 'vitest';
import { decimals, whole, wholes } from '../../infra/bench/arguments.ts';

describe('whole', () => {
  it('takes whole numbers from the least one on', () => {
    expect(whole('--rounds', '12')).toBe(12);
    expect(whole('--arriving', '0', 0)).toBe(0);
  });

  it.each(['0', '-1', '1.5', 'many', '', '1e3', ' 2'])('refuses %j, naming the option', (text) => {
    expect(() => whole('--rounds', text)).toThrow(/--rounds takes a whole number from 1/);
  });
});

describe('wholes', () => {
  it('sorts a list, so that the last is the largest', () => {
    expect(wholes('--streams', '8,1,16')).toEqual([1, 8, 16]);
    expect(() => wholes('--streams', '1,,2')).toThrow(/--streams/);
  });
});

describe('decimals', () => {
  it('sorts a list of numbers above 0', () => {
    expect(decimals('--rates', '10,0.05,3')).toEqual([0.05, 3, 10]);
  });

  it.each(['0', '0.0', '-1', '1e3', '1,,2', '.5', 'fast', ''])('refuses %j', (text) => {
    expect(() => decimals('--rates', text)).toThrow(/--rates takes numbers above 0/);
  });
});
