import { expect, it } from 'vitest';
import { createStartTimes } from '../src/start-times.ts';
import { createFakeClock } from './support/fake-clock.ts';

it('tells what is left of the longest of the last starts', () => {
  const clock = createFakeClock();
  const starts = createStartTimes(clock);
  const start = (ms: number): void => {
    starts.waiting();
    clock.advance(ms);
    starts.up();
  };
  expect(starts.remainingMs()).toBeNull();
  for (const ms of [90_000, 20_000, 40_000, 20_000, 20_000]) start(ms);
  expect(starts.remainingMs()).toBeNull();
  starts.waiting();
  clock.advance(10_000);
  starts.waiting();
  expect(starts.remainingMs()).toBe(30_000);
  clock.advance(30_000);
  expect(starts.remainingMs()).toBeNull();
});

it('learns nothing from what was up already, from failures, and from waits that nobody ended', () => {
  const clock = createFakeClock();
  const starts = createStartTimes(clock, 90_000);
  starts.waiting();
  clock.advance(999);
  starts.up();
  starts.waiting();
  clock.advance(50_000);
  starts.failed();
  starts.up();
  starts.waiting();
  clock.advance(90_001);
  starts.up();
  starts.waiting();
  expect(starts.remainingMs()).toBeNull();
  clock.advance(2_000);
  starts.up();
  starts.waiting();
  expect(starts.remainingMs()).toBe(2_000);
});
