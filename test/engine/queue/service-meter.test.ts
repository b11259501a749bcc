import { describe, expect, it } from 'vitest';
import { createServiceMeter } from '../../../src/engine/queue/service-meter.ts';

describe('service of tenants', () => {
  it('is what was charged while they were there', () => {
    const meter = createServiceMeter();
    meter.enter('a');
    meter.enter('b');
    meter.charge('a', 10);
    meter.charge('nobody', 10);
    expect([meter.served('a'), meter.served('b'), meter.served('nobody')]).toEqual([10, 0, 0]);
  });

  it('cannot be saved up: whoever comes in starts level with the least served', () => {
    const meter = createServiceMeter();
    meter.enter('a');
    meter.charge('a', 100);
    meter.enter('b');
    expect(meter.served('b')).toBe(100);
    meter.charge('b', 5);
    meter.leave('b');
    meter.charge('a', 50);
    meter.enter('b');
    expect(meter.served('b')).toBe(150);
  });

  it('is not forgotten by leaving for a moment while others are there', () => {
    const meter = createServiceMeter();
    meter.enter('a');
    meter.enter('greedy');
    meter.charge('greedy', 1000);
    meter.leave('greedy');
    meter.enter('greedy');
    expect(meter.served('greedy')).toBe(1000);
  });

  it('counts sequences that are there, and begins anew once nobody is', () => {
    const meter = createServiceMeter();
    meter.enter('a');
    meter.enter('a');
    meter.charge('a', 7);
    expect(meter.countOf('a')).toBe(2);
    meter.leave('a');
    expect(meter.served('a')).toBe(7);
    meter.leave('a');
    expect([meter.countOf('a'), meter.served('a')]).toEqual([0, 0]);
  });
});
