import { describe, expect, it } from 'vitest';
import { createStepRate } from '../../src/engine/step-rate.ts';

describe('step rate', () => {
  it('begins with few tokens: a slow device must not be found out by a long stall', () => {
    expect(createStepRate().tokensIn(250, 0)).toBe(32);
  });

  it('plans with less than the budget, without the time of the decodes beside', () => {
    const rate = createStepRate();
    for (let step = 0; step < 40; step++) rate.observe(50, 4, 0, 0);
    rate.observe(150, 4, 100, 0);
    expect(rate.tokensIn(250, 0)).toBeGreaterThan(205);
    expect(rate.tokensIn(250, 0)).toBeLessThan(220);
    expect(rate.tokensIn(-10, 0)).toBe(0);
  });

  it('knows that chunks take longer far into a prompt', () => {
    const rate = createStepRate();
    rate.observe(100, 0, 100, 0);
    rate.observe(300, 0, 100, 8192);
    expect(rate.tokensIn(100, 100)).toBe(85);
    expect(rate.tokensIn(100, 9000)).toBe(28);
    // Not measured there yet: the nearest before it.
    expect(rate.tokensIn(100, 5000)).toBe(85);
  });

  it('learns nothing from chunks too short to tell', () => {
    const rate = createStepRate();
    rate.observe(500, 0, 3, 0);
    expect(rate.tokensIn(250, 0)).toBe(32);
  });
});
