import { expect, it } from 'vitest';
import { retain } from '../../../../../src/engine/kv/store/retention/retention.ts';
import { createStoreRoom } from '../../../../../src/engine/kv/store/retention/store-room.ts';
import { createUseBook } from '../../../../../src/engine/kv/store/retention/use-book.ts';
import { createFakeClock } from '../../../../support/fake-clock.ts';
import { contentWith, createPageHarness } from '../../../../support/page-harness.ts';

const HOUR_MS = 3_600_000;

const settle = async (): Promise<void> => {
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
};

it('what others wrote is brought within the size each hour, what nobody uses is removed after days', async () => {
  const { store, save } = createPageHarness({ pageTokens: 4, windowTokens: 4 });
  const clock = createFakeClock();
  const uses = createUseBook({ store, clock, instance: 'one' });
  const room = createStoreRoom({ store, clock, uses, maxBytes: 10 * 4096 });
  const stop = new AbortController();
  const failures: unknown[] = [];
  const retaining = retain(
    { store, clock, uses, room, keepDays: 1, onFailure: (error) => void failures.push(error) },
    stop.signal,
  );
  /** Hashing takes its own time: a round is over when the next hour is waited for. */
  const asleep = async (): Promise<void> => {
    await settle();
    while (clock.sleeping() === 0) await settle();
  };
  const pages = (): number =>
    [...store.objects.keys()].filter((key) => key.startsWith('kv/')).length;
  for (let number = 0; number < 20; number++) await save(contentWith(Array(4).fill(number)), 4);
  expect(pages()).toBe(20);
  clock.advance(HOUR_MS);
  await asleep();
  expect(pages()).toBe(9);
  // No book lists them: one sweep condemns them, the next removes them.
  for (let hour = 1; hour < 12; hour++) {
    clock.advance(HOUR_MS);
    await asleep();
  }
  expect(pages()).toBe(0);
  stop.abort(new Error('over'));
  await retaining;
  expect(failures).toEqual([]);
});
