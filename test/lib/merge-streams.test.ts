import { describe, expect, it } from 'vitest';
import { mergeStreams, type StreamSource } from '../../src/lib/merge-streams.ts';

/** Yields 0..count-1, letting others run in between; counts how many run. */
function counting(
  gauge: { active: number; peak: number; ended: number },
  count: number,
): StreamSource<number> {
  return async function* source() {
    gauge.active++;
    gauge.peak = Math.max(gauge.peak, gauge.active);
    try {
      for (let item = 0; item < count; item++) {
        await Promise.resolve();
        yield item;
      }
    } finally {
      gauge.active--;
      gauge.ended++;
    }
  };
}

/** Waits for the abort and then fails with its reason. */
const hanging = (log: unknown[]): StreamSource<number> =>
  async function* source(signal) {
    try {
      yield 0;
      await new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    } finally {
      log.push('left');
    }
  };

const failing: StreamSource<number> = async function* source() {
  yield 0;
  throw new Error('broken');
};

describe('mergeStreams', () => {
  it('yields everything, in order within a source, never more than the bound at once', async () => {
    const gauge = { active: 0, peak: 0, ended: 0 };
    const sources = Array.from({ length: 7 }, (_, index) => counting(gauge, index));
    const seen = sources.map((): number[] => []);
    for await (const [index, item] of mergeStreams(sources, 3)) seen[index]?.push(item);
    expect(seen).toEqual(
      sources.map((_, index) => Array.from({ length: index }, (__, item) => item)),
    );
    expect(gauge).toEqual({ active: 0, peak: 3, ended: 7 });
  });

  it('interleaves sources', async () => {
    const gauge = { active: 0, peak: 0, ended: 0 };
    const order: number[] = [];
    const sources = [counting(gauge, 3), counting(gauge, 3)];
    for await (const [index] of mergeStreams(sources, 2)) order.push(index);
    expect(order.slice(0, 2).toSorted((one, two) => one - two)).toEqual([0, 1]);
  });

  it('ends at once without sources', async () => {
    const items: unknown[] = [];
    for await (const item of mergeStreams([], 3)) items.push(item);
    expect(items).toEqual([]);
  });

  it('stops the others when one fails, and throws its error', async () => {
    const log: unknown[] = [];
    const merged = mergeStreams([hanging(log), hanging(log), failing], 3);
    await expect(drain(merged)).rejects.toThrow('broken');
    expect(log).toEqual(['left', 'left']);
  });

  it('stops all when the reader leaves', async () => {
    const log: unknown[] = [];
    for await (const _ of mergeStreams([hanging(log), hanging(log)], 2)) break;
    expect(log.length).toBe(2);
  });

  it('stops all on abort and throws its reason', async () => {
    const log: unknown[] = [];
    const controller = new AbortController();
    const merged = drain(mergeStreams([hanging(log), hanging(log)], 2, controller.signal));
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort(new Error('gone'));
    await expect(merged).rejects.toThrow('gone');
    expect(log).toEqual(['left', 'left']);
  });
});

async function drain(items: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of items);
}
