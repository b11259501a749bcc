import { expect, it } from 'vitest';
import { createIsolateSlot } from '../../../adapters/cloudflare/isolate-slot.ts';
import { createFakeClock } from '../../support/fake-clock.ts';

const never = (): Promise<never> => new Promise(() => undefined);

it('one task runs at a time, and a failed one makes room', async () => {
  const clock = createFakeClock();
  const slot = createIsolateSlot(clock, 1_000);
  let fail: ((error: Error) => void) | undefined;
  const failing = new Promise<void>((_resolve, reject) => {
    fail = reject;
  });
  const first = slot.run(() => failing);
  let hasSecond = false;
  const second = slot.run(async () => {
    hasSecond = true;
  });
  clock.advance(100);
  await Promise.resolve();
  expect(hasSecond).toBe(false);
  fail?.(new Error('damaged'));
  await expect(first).rejects.toThrow('damaged');
  clock.advance(100);
  await second;
  expect(hasSecond).toBe(true);
});

it('a holder that was cut off with its request loses it in the end', async () => {
  const clock = createFakeClock();
  const slot = createIsolateSlot(clock, 1_000);
  void slot.run(never);
  const second = slot.run(async () => 'second');
  clock.advance(1_000);
  expect(await second).toBe('second');
});

it('whoever leaves while waiting takes nothing', async () => {
  const clock = createFakeClock();
  const slot = createIsolateSlot(clock, 1_000);
  void slot.run(never);
  const abort = new AbortController();
  const left = slot.run(async () => 'left', abort.signal);
  abort.abort(new Error('enough'));
  await expect(left).rejects.toThrow('enough');
  expect(clock.sleeping()).toBe(0);
});
