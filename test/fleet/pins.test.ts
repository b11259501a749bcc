import { describe, expect, it } from 'vitest';
import { joinPin, splitPin } from '../../src/fleet/pins.ts';

describe('pins', () => {
  it('come back as they were kept', () => {
    for (const pin of [
      { replica: 'boot-1', rest: 'a=1; b="x y"' },
      { replica: '', rest: '' },
    ]) {
      expect(splitPin(joinPin(pin))).toEqual(pin);
    }
  });

  it.each(['', 'a', 'b a\r\nx: 1', 'b\n c', 'b a\u0000', 'b é', 'b! a', `b ${'x'.repeat(5_000)}`])(
    'are not made of %j',
    (text) => {
      expect(splitPin(text)).toBeNull();
    },
  );

  it('are not kept when they would not come back', () => {
    expect(joinPin({ replica: 'b', rest: 'a\r\nb' })).toBeNull();
    expect(joinPin({ replica: 'b c', rest: '\t' })).toBeNull();
    expect(joinPin({ replica: 'b', rest: 'x'.repeat(5_000) })).toBeNull();
  });
});
