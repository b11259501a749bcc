import { describe, expect, it } from 'vitest';
import { createSemaphore } from '../../src/lib/semaphore.ts';

interface Gate {
  readonly open: () => void;
  readonly opened: Promise<void>;
}

function gate(): Gate {
  const opens: (() => void)[] = [];
  const opened = new Promise<void>((resolve) => opens.push(resolve));
  return { open: () => opens[0]?.(), opened };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('createSemaphore', () => {
  it('runs up to its limit at once and the rest in order', async () => {
    const semaphore = createSemaphore(2);
    const gates = [gate(), gate(), gate(), gate()];
    const started: number[] = [];
    const runs = gates.map((each, index) =>
      semaphore.run(async () => {
        started.push(index);
        await each.opened;
        return index;
      }),
    );
    await settle();
    expect(started).toEqual([0, 1]);
    gates[1]?.open();
    await settle();
    expect(started).toEqual([0, 1, 2]);
    for (const each of gates) each.open();
    expect(await Promise.all(runs)).toEqual([0, 1, 2, 3]);
  });

  it('frees the place of a task that fails', async () => {
    const semaphore = createSemaphore(1);
    await expect(semaphore.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(semaphore.run(async () => 'next')).resolves.toBe('next');
  });

  it('lets an aborted waiter leave without taking a place', async () => {
    const semaphore = createSemaphore(1);
    const first = gate();
    const controller = new AbortController();
    const running = semaphore.run(() => first.opened);
    let ran = false;
    const waiting = semaphore.run(async () => void (ran = true), controller.signal);
    const last = semaphore.run(async () => 'last');
    controller.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    first.open();
    await running;
    expect(await last).toBe('last');
    expect(ran).toBe(false);
  });

  it('does not start for a signal that is aborted already', async () => {
    const aborted = AbortSignal.abort(new Error('gone'));
    await expect(createSemaphore(1).run(async () => 1, aborted)).rejects.toThrow('gone');
  });

  it('refuses a limit without a place', () => {
    expect(() => createSemaphore(0)).toThrow(RangeError);
  });

  it('gives many places to one task, which those that want few do not overtake', async () => {
    const semaphore = createSemaphore(3);
    const gates = [gate(), gate(), gate()];
    const started: number[] = [];
    const runs = [2, 5, 1].map((places, index) =>
      semaphore.run(
        async () => {
          started.push(index);
          await gates[index]?.opened;
        },
        undefined,
        places,
      ),
    );
    await settle();
    expect(started).toEqual([0]);
    gates[0]?.open();
    await settle();
    expect(started).toEqual([0, 1]);
    gates[1]?.open();
    await settle();
    expect(started).toEqual([0, 1, 2]);
    gates[2]?.open();
    await Promise.all(runs);
  });

  it('lets the next ones in when one that wanted many leaves', async () => {
    const semaphore = createSemaphore(2);
    const first = gate();
    const leaving = new AbortController();
    const running = semaphore.run(() => first.opened);
    const gone = semaphore.run(async () => 'never', leaving.signal, 2);
    const behind = semaphore.run(async () => 'behind');
    leaving.abort(new Error('left'));
    await expect(gone).rejects.toThrow('left');
    expect(await behind).toBe('behind');
    first.open();
    await running;
  });
});
