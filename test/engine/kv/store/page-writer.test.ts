import { describe, expect, it } from 'vitest';
import type { PageName } from '../../../../src/engine/kv/store/page-names.ts';
import type { PageWriterEvent } from '../../../../src/engine/kv/store/page-writer.ts';
import { createFakeClock } from '../../../support/fake-clock.ts';
import { faultyStore } from '../../../support/faulty-store.ts';
import {
  contentWith,
  createPageHarness,
  pageOf,
  type PageHarness,
  type PageHarnessOptions,
} from '../../../support/page-harness.ts';
import { createSeededRandom, forSeeds } from '../../../support/seeded-random.ts';

const SHAPE = { pageTokens: 4, windowTokens: 4 };
const CONTENT = contentWith(Array.from({ length: 40 }, (_, index) => index));
const PAGE_BYTES = 256 + 4 * 8;

interface Watched extends PageHarness {
  readonly events: PageWriterEvent[];
  readonly enqueue: (index: number, localStart?: number) => Promise<boolean>;
}

function watched(options: Partial<PageHarnessOptions> = {}): Watched {
  const events: PageWriterEvent[] = [];
  const harness = createPageHarness({
    ...SHAPE,
    ...options,
    writer: { ...options.writer, onEvent: (event) => events.push(event) },
  });
  return {
    ...harness,
    events,
    async enqueue(index, localStart) {
      const name = (await harness.namesOf(CONTENT, 40))[index] as PageName;
      return harness.writer.enqueue(pageOf(CONTENT, index * 4, 4, localStart), name);
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Hashes are made in other threads: turns alone do not tell when. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}

async function turns(count = 30): Promise<void> {
  for (let left = count; left > 0; left--) await turn();
}

describe('page writer', () => {
  it('writes what it is given, once', async () => {
    const { writer, store, enqueue } = watched();
    for (const index of [0, 1, 0, 2, 1]) expect(await enqueue(index)).toBe(true);
    await writer.idle();
    expect(await enqueue(2)).toBe(true);
    await writer.idle();
    expect(store.writes).toHaveLength(3);
    expect(writer.stats()).toMatchObject({
      queuedBytes: 0,
      writtenPages: 3,
      writtenBytes: 3 * PAGE_BYTES,
      deduplicatedPages: 3,
      droppedPages: 0,
    });
  });

  it('sends nothing that another instance has written or the reader has seen', async () => {
    const first = watched();
    await first.save(CONTENT, 8);
    const second = watched({ store: first.store });
    await second.save(CONTENT, 8);
    const [seen] = (await second.namesOf(CONTENT, 12)).slice(2);
    second.writer.saw(seen?.key ?? '', PAGE_BYTES);
    await second.enqueue(2);
    await second.writer.idle();
    expect(first.store.writes).toHaveLength(2);
    expect(second.writer.stats()).toMatchObject({ writtenPages: 0, deduplicatedPages: 3 });
    second.writer.saw(seen?.key ?? '', null);
    await second.enqueue(2);
    await second.writer.idle();
    expect(second.writer.stats().writtenPages).toBe(1);
  });

  it('replaces a shorter object, and a bad one it was told of', async () => {
    const { writer, store, enqueue, codec, namesOf } = watched();
    const name = (await namesOf(CONTENT, 4))[0] as PageName;
    await enqueue(0, 2);
    await writer.idle();
    await enqueue(0, 0);
    await writer.idle();
    expect(store.writes).toHaveLength(2);
    await enqueue(0, 3);
    await writer.idle();
    expect(store.writes).toHaveLength(2);
    const bytes = store.objects.get(name.key) as Uint8Array;
    bytes[300] = 255 - (bytes[300] ?? 0);
    writer.forget(name.key);
    await enqueue(0);
    await writer.idle();
    expect(await codec.decode(store.objects.get(name.key) as Uint8Array, name)).toEqual(
      pageOf(CONTENT, 0, 4),
    );
  });

  it('takes no more than its queue holds, and says what it drops', async () => {
    const { writer, store, enqueue, events } = watched({
      inFlight: 2,
      writer: { maxQueueBytes: 3 * PAGE_BYTES },
    });
    let held = true;
    store.isHeld = (): boolean => held;
    const taken = [];
    for (let index = 0; index < 5; index++) taken.push(await enqueue(index));
    expect(taken).toEqual([true, true, true, false, false]);
    expect(writer.stats()).toMatchObject({ queuedBytes: 3 * PAGE_BYTES, droppedPages: 2 });
    expect(events.filter(({ type }) => type === 'page-dropped')).toHaveLength(2);
    held = false;
    await writer.close();
    expect(writer.stats().queuedBytes).toBe(0);
  });

  it('tries again after a while, and gives up after some times', async () => {
    const clock = createFakeClock();
    const { writer, store, enqueue, events } = watched({ clock, writer: { retryMs: [10, 100] } });
    store.failingWrites = 2;
    await enqueue(0);
    await until(() => clock.sleeping() > 0);
    expect(store.writes).toHaveLength(0);
    clock.advance(10);
    await until(() => clock.sleeping() > 0);
    clock.advance(100);
    await writer.idle();
    expect(writer.stats()).toMatchObject({ writtenPages: 1, failures: 2, droppedPages: 0 });
    store.failingWrites = 9;
    await enqueue(1);
    for (const ms of [10, 100]) {
      await until(() => clock.sleeping() > 0);
      clock.advance(ms);
    }
    await writer.idle();
    expect(store.failingWrites).toBe(6);
    expect(events.at(-1)).toMatchObject({ type: 'page-dropped', reason: 'failed' });
    store.failingWrites = 0;
    expect(await enqueue(1)).toBe(true);
    await writer.idle();
    expect(writer.stats()).toMatchObject({ writtenPages: 2, queuedBytes: 0 });
  });

  it('drains until a deadline, and goes on afterwards', async () => {
    const clock = createFakeClock();
    const { writer, store, enqueue } = watched({ clock, inFlight: 1 });
    for (let index = 0; index < 3; index++) await enqueue(index);
    expect(await writer.flush(1000)).toBe(0);
    expect(clock.sleeping()).toBe(0);
    store.isHeld = (): boolean => true;
    for (let index = 3; index < 6; index++) await enqueue(index);
    const flushing = writer.flush(1000);
    await turns();
    clock.advance(1000);
    expect(await flushing).toBe(3);
    expect(store.running).toBe(0);
    store.isHeld = (): boolean => false;
    await enqueue(3);
    await writer.idle();
    expect(writer.stats()).toMatchObject({ writtenPages: 4, queuedBytes: 0 });
  });

  it('leaves nothing running when it closes, and takes nothing more', async () => {
    const { writer, store, enqueue } = watched();
    store.isHeld = (): boolean => true;
    for (let index = 0; index < 8; index++) await enqueue(index);
    await turns();
    expect(store.running).toBe(4);
    const gone = new AbortController();
    const waiting = writer.idle(gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    await writer.close();
    expect(store.running).toBe(0);
    expect(await enqueue(9)).toBe(false);
    expect(writer.stats()).toMatchObject({ queuedBytes: 0, droppedPages: 9 });
  });

  it('keeps its bounds whatever comes', async () => {
    await forSeeds(60, async (random) => {
      const maxQueueBytes = random.integer(1, 5) * PAGE_BYTES;
      const inFlight = random.integer(1, 4);
      const store = faultyStore(createSeededRandom(random.integer(0, 1e6)));
      const { writer, enqueue } = watched({ store, inFlight, writer: { maxQueueBytes } });
      let asked = 0;
      for (let step = 0; step < 40; step++) {
        if (random.chance(0.1)) store.failingWrites = random.integer(0, 6);
        if (random.chance(0.3)) await turn();
        asked++;
        await enqueue(random.integer(0, 9), undefined);
        expect(writer.stats().queuedBytes).toBeLessThanOrEqual(maxQueueBytes);
      }
      await writer.idle();
      expect(store.mostRunning).toBeLessThanOrEqual(inFlight);
      const { writtenPages, deduplicatedPages, droppedPages, queuedBytes } = writer.stats();
      expect(writtenPages + deduplicatedPages + droppedPages).toBe(asked);
      expect(queuedBytes).toBe(0);
      expect(store.writes).toHaveLength(writtenPages);
    });
  });
});
