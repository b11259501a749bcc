import { describe, expect, it } from 'vitest';
import { validTraceparent } from '../../src/http/traceparent.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const SPAN = 'b7ad6b7169203331';

describe('the traceparent header', () => {
  it('is taken as it is when valid', () => {
    for (const flags of ['00', '01', 'ff']) {
      const header = `00-${TRACE}-${SPAN}-${flags}`;
      expect(validTraceparent(header)).toBe(header);
    }
  });

  it('loses what later versions append', () => {
    const header = `cc-${TRACE}-${SPAN}-01`;
    expect(validTraceparent(header)).toBe(header);
    expect(validTraceparent(`${header}-what-the-future-brings`)).toBe(header);
  });

  it('is left out when it is not valid', () => {
    const invalid = [
      undefined,
      '',
      'x',
      `00-${TRACE}-${SPAN}`,
      `00-${TRACE}-${SPAN}-1`,
      `00-${TRACE}-${SPAN}-01-more`,
      `00-${TRACE}-${SPAN}-01 `,
      `cc-${TRACE}-${SPAN}-01.more`,
      `ff-${TRACE}-${SPAN}-01`,
      `00-${TRACE.toUpperCase()}-${SPAN}-01`,
      `00-${'0'.repeat(32)}-${SPAN}-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
      `00-${TRACE}0-${SPAN}-01`,
    ];
    expect(invalid.map(validTraceparent)).toEqual(invalid.map(() => null));
  });
});
