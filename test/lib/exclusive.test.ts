import { describe, expect, it } from 'vitest';
import { createExclusive } from '../../src/lib/exclusive.ts';

describe('exclusive', () => {
  it('refuses work while other work runs, and takes it after', async () => {
    const turn = createExclusive('the printer');
    let finish: ((pages: number) => void) | undefined;
    const first = turn.run(
      () =>
        new Promise<number>((resolve) => {
          finish = resolve;
        }),
    );
    expect(() => turn.assertIdle()).toThrow('the printer is busy');
    let hasStarted = false;
    const second = turn.run(async () => {
      hasStarted = true;
    });
    await expect(second).rejects.toThrow(TypeError);
    expect(hasStarted).toBe(false);
    finish?.(7);
    expect(await first).toBe(7);
    turn.assertIdle();
    expect(await turn.run(async () => 8)).toBe(8);
  });

  it('starts work at once', () => {
    const turn = createExclusive('the printer');
    let hasStarted = false;
    void turn.run(async () => {
      hasStarted = true;
    });
    expect(hasStarted).toBe(true);
  });

  it('is idle again after work failed, and settles without its error', async () => {
    const turn = createExclusive('the printer');
    const failing = turn.run(async () => {
      await Promise.resolve();
      throw new Error('out of paper');
    });
    const settled = turn.settled();
    await expect(failing).rejects.toThrow('out of paper');
    await settled;
    turn.assertIdle();
    await turn.settled();
  });
});
