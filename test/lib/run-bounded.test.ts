import { describe, expect, it } from 'vitest';
import { runBounded } from '../../src/lib/run-bounded.ts';

/** Lets everything that is ready run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('runBounded', () => {
  it('runs every task once, never more than the limit at a time', async () => {
    const seen: number[] = [];
    let running = 0;
    let most = 0;
    await runBounded(10, 3, async (index) => {
      running++;
      most = Math.max(most, running);
      await turn();
      seen.push(index);
      running--;
    });
    expect(seen.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(most).toBe(3);
  });

  it('does nothing for no tasks', async () => {
    await runBounded(0, 3, () => Promise.reject(new Error('ran')));
  });

  it('after a failure tells the others, starts no more, and rejects once none runs', async () => {
    const failure = new Error('second task');
    const started: number[] = [];
    let finished = 0;
    const run = runBounded(10, 2, async (index, signal) => {
      started.push(index);
      if (index === 1) {
        await turn();
        throw failure;
      }
      while (!signal.aborted) await turn();
      await turn();
      finished++;
      throw new Error('an echo');
    });
    await expect(run).rejects.toBe(failure);
    expect(started).toEqual([0, 1]);
    expect(finished).toBe(1);
  });

  it('rejects with the reason of an abort, before and during the work', async () => {
    const reason = new Error('enough');
    await expect(
      runBounded(1, 1, () => Promise.reject(new Error('ran')), AbortSignal.abort(reason)),
    ).rejects.toBe(reason);
    const controller = new AbortController();
    let count = 0;
    const run = runBounded(
      100,
      1,
      async () => {
        count++;
        if (count === 3) controller.abort(reason);
        await turn();
      },
      controller.signal,
    );
    await expect(run).rejects.toBe(reason);
    expect(count).toBe(3);
  });
});
