import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { fillFrom } from '../../../adapters/s3/s3-range.ts';
import { PassingFailure } from '../../../src/weights/web-attempt.ts';

/** Fills 10 bytes from `body` and gives them, or the error. */
async function fill(body: Readable, signal = new AbortController().signal): Promise<unknown> {
  const target = new Uint8Array(10);
  try {
    await fillFrom(body, target, signal, () => undefined);
    return [...target];
  } catch (error) {
    return error;
  }
}

const chunk = (length: number): Buffer => Buffer.alloc(length, 7);

describe('a body', () => {
  it('fills its place, in however many chunks', async () => {
    expect(await fill(Readable.from([chunk(4), chunk(6)]))).toEqual(Array(10).fill(7));
  });

  it('that ends early, or brings too much, is worth another attempt', async () => {
    for (const chunks of [[], [chunk(4)], [chunk(4), chunk(7)]]) {
      const body = Readable.from(chunks);
      expect(await fill(body)).toBeInstanceOf(PassingFailure);
      expect(body.destroyed).toBe(true);
    }
  });

  it('that broke before anyone listened is not waited for', async () => {
    const body = Readable.from([chunk(10)]);
    body.destroy();
    await new Promise((resolve) => body.once('close', resolve));
    expect(await fill(body)).toBeInstanceOf(PassingFailure);
  });

  it('is ended by an abort, before and while it is read', async () => {
    const reason = new Error('enough');
    const aborted = Readable.from([chunk(10)]);
    expect(await fill(aborted, AbortSignal.abort(reason))).toBe(reason);
    expect(aborted.destroyed).toBe(true);
    const silent = new Readable({ read: () => undefined });
    const controller = new AbortController();
    const filling = fill(silent, controller.signal);
    controller.abort(reason);
    expect(await filling).toBe(reason);
    expect(silent.destroyed).toBe(true);
  });
});
