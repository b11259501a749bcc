import { describe, expect, it } from 'vitest';
import { createPageCollector } from '../../../../../src/engine/kv/store/retention/page-gc.ts';
import { createUseBook } from '../../../../../src/engine/kv/store/retention/use-book.ts';
import { createFakeClock } from '../../../../support/fake-clock.ts';
import {
  contentWith,
  createPageHarness,
  type PageHarness,
} from '../../../../support/page-harness.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const SHARED = contentWith([1, 2, 3, 4, 5, 6, 7, 8]);
const FORK = contentWith([1, 2, 3, 4, 9, 9, 9, 9]);

async function keysOf(harness: PageHarness, content = SHARED): Promise<readonly string[]> {
  return (await harness.namesOf(content, 8)).map(({ key }) => key);
}

interface Setup {
  readonly harness: PageHarness;
  readonly clock: ReturnType<typeof createFakeClock>;
  readonly book: ReturnType<typeof createUseBook>;
  readonly collector: ReturnType<typeof createPageCollector>;
  readonly pagesLeft: () => readonly string[];
}

/** Two conversations with one first page between them, written and booked today. */
async function stored(
  options: Partial<Parameters<typeof createPageCollector>[0]> = {},
): Promise<Setup> {
  const harness = createPageHarness({ pageTokens: 4, windowTokens: 4 });
  const { store } = harness;
  const clock = createFakeClock(1000 * DAY_MS);
  const book = createUseBook({ store, clock, instance: 'one' });
  const collector = createPageCollector({ store, clock, keepDays: 2, ...options });
  for (const content of [SHARED, FORK]) {
    await harness.save(content, 8);
    for (const key of await keysOf(harness, content)) book.use(key);
  }
  await book.flush();
  const pagesLeft = (): readonly string[] =>
    [...store.objects.keys()].filter((key) => key.startsWith('kv/')).toSorted();
  return { harness, clock, book, collector, pagesLeft };
}

describe('page collector', () => {
  it('removes what was unused for days, in two sweeps, and its books', async () => {
    const { harness, clock, collector, pagesLeft } = await stored();
    expect(await collector.sweep()).toMatchObject({ pages: 3, kept: 3, condemned: 0, removed: 0 });
    clock.advance(3 * DAY_MS);
    expect(await collector.sweep()).toMatchObject({ kept: 0, condemned: 3, removed: 0 });
    expect(await collector.sweep()).toMatchObject({ condemned: 3, removed: 0 });
    clock.advance(HOUR_MS);
    expect(await collector.sweep()).toMatchObject({ condemned: 0, removed: 3 });
    expect(pagesLeft()).toEqual([]);
    expect([...harness.store.objects.keys()].filter((key) => key.startsWith('kv-uses'))).toEqual(
      [],
    );
  });

  it('keeps the pages before one that was used or is referenced', async () => {
    let session = '';
    const { harness, clock, book, collector, pagesLeft } = await stored({
      isReferenced: (name) => name === session,
    });
    const [first, second] = await keysOf(harness);
    clock.advance(3 * DAY_MS);
    book.use(second ?? '');
    await book.flush();
    await collector.sweep();
    clock.advance(HOUR_MS);
    expect(await collector.sweep()).toMatchObject({ kept: 2, removed: 1 });
    expect(new Set(pagesLeft())).toEqual(new Set([first, second]));
    session = second?.split('-').at(-1) ?? '';
    clock.advance(9 * DAY_MS);
    await collector.sweep();
    clock.advance(HOUR_MS);
    expect(await collector.sweep()).toMatchObject({ kept: 2, removed: 0 });
    session = '';
    clock.advance(HOUR_MS);
    await collector.sweep();
    clock.advance(HOUR_MS);
    expect(await collector.sweep()).toMatchObject({ removed: 2 });
  });

  it('spares a condemned page that is used before the next sweep', async () => {
    const { harness, clock, book, collector } = await stored();
    clock.advance(3 * DAY_MS);
    expect(await collector.sweep()).toMatchObject({ condemned: 3 });
    for (const key of await keysOf(harness, FORK)) book.use(key);
    await book.flush();
    clock.advance(HOUR_MS);
    expect(await collector.sweep()).toMatchObject({ kept: 2, removed: 1 });
  });

  it('bounds a sweep, and removes nothing that it cannot overlook', async () => {
    const { harness, clock, collector } = await stored({ maxRemovals: 2 });
    clock.advance(3 * DAY_MS);
    const small = createPageCollector({ store: harness.store, clock, keepDays: 2, maxPages: 2 });
    expect(await small.sweep()).toMatchObject({ isTooLarge: true, removed: 0 });
    await collector.sweep();
    clock.advance(HOUR_MS);
    expect(await collector.sweep()).toMatchObject({ removed: 2, condemned: 1 });
  });

  it('removes nothing while a book cannot be read', async () => {
    const { harness, clock, collector, pagesLeft } = await stored();
    await collector.sweep();
    clock.advance(HOUR_MS);
    harness.store.onRead = (): never => {
      throw new Error('broken');
    };
    await expect(collector.sweep()).rejects.toThrow();
    expect(pagesLeft()).toHaveLength(3);
  });
});
