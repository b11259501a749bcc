import { describe, expect, it } from 'vitest';
import { createProgressMeter, progressText } from '../src/load-progress.ts';
import { createFakeClock } from './support/fake-clock.ts';

describe('the progress meter', () => {
  it('knows nothing but the start at first', () => {
    const clock = createFakeClock(5_000);
    expect(createProgressMeter(clock).read()).toEqual({
      phase: 'describing',
      loadedBytes: 0,
      totalBytes: null,
      bytesPerSecond: 0,
      etaMs: null,
      startedMs: 5_000,
    });
  });

  it('finds a steady rate at once, without the time before the first byte', () => {
    const clock = createFakeClock();
    const meter = createProgressMeter(clock);
    clock.advance(10_000);
    meter.update(0, 1_000_000);
    for (let at = 1; at <= 10; at++) {
      clock.advance(100);
      meter.update(at * 10_000, 1_000_000);
    }
    expect(meter.read()).toMatchObject({
      phase: 'downloading',
      bytesPerSecond: 100_000,
      etaMs: 9_000,
    });
  });

  it('follows a change of rate smoothly and within bounds', () => {
    const clock = createFakeClock();
    const meter = createProgressMeter(clock);
    meter.update(0, 1e9);
    let bytes = 0;
    const run = (perSecond: number, seconds: number): number => {
      for (let at = 0; at < seconds; at++) {
        clock.advance(1_000);
        meter.update((bytes += perSecond), 1e9);
      }
      return meter.read().bytesPerSecond;
    };
    expect(run(1_000_000, 20)).toBe(1_000_000);
    const soon = run(3_000_000, 1);
    expect(soon).toBeGreaterThan(1_000_000);
    expect(soon).toBeLessThan(2_000_000);
    expect(run(3_000_000, 30)).toBeGreaterThan(2_900_000);
  });

  it('lets the rate fall while nothing comes', () => {
    const clock = createFakeClock();
    const meter = createProgressMeter(clock);
    meter.update(0, 1e9);
    clock.advance(1_000);
    meter.update(1e6, 1e9);
    const before = meter.read();
    clock.advance(20_000);
    const after = meter.read();
    expect(after.bytesPerSecond).toBeLessThan(before.bytesPerSecond / 10);
    expect(after.etaMs).toBeGreaterThan((before.etaMs ?? 0) * 10);
    clock.advance(10_000_000);
    expect(meter.read()).toMatchObject({ bytesPerSecond: 0, etaMs: null });
  });

  it('promises no end where the total is not known, and none while it prepares', () => {
    const clock = createFakeClock();
    const meter = createProgressMeter(clock);
    meter.update(0, null);
    clock.advance(1_000);
    meter.update(5e6, null);
    expect(meter.read()).toMatchObject({ phase: 'downloading', etaMs: null, totalBytes: null });
    meter.update(6e6, 6e6);
    expect(meter.read()).toMatchObject({ phase: 'preparing', bytesPerSecond: 0, etaMs: null });
    meter.finish();
    meter.update(1, 2);
    expect(meter.read()).toMatchObject({ phase: 'ready', loadedBytes: 6e6 });
  });
});

describe('progress as a line', () => {
  const progress = {
    phase: 'downloading',
    loadedBytes: 349,
    totalBytes: 1000,
    bytesPerSecond: 54,
    etaMs: 11_500,
    startedMs: 0,
  } as const;

  it.each([
    [progress, 'loading 34% eta 12s'],
    [{ ...progress, etaMs: null }, 'loading 34%'],
    [{ ...progress, totalBytes: null, loadedBytes: 12_900_000 }, 'loading, 12 MB so far'],
    [{ ...progress, phase: 'describing' }, 'loading'],
    [{ ...progress, phase: 'preparing' }, 'loading 100%, preparing'],
    [{ ...progress, phase: 'ready' }, 'loaded'],
  ] as const)('%j', (given, line) => {
    expect(progressText(given)).toBe(line);
  });
});
