import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Fault } from '../../support/fake-s3-fault.ts';
import { S3_BYTES as bytes, S3_STALL_MS, startS3Harness } from '../../support/s3-harness.ts';
import type { S3Harness } from '../../support/s3-harness.ts';

let s3: S3Harness;
beforeEach(async () => {
  s3 = await startS3Harness();
});
afterEach(() => s3.close());

describe('an abort', () => {
  it.each<Fault>([{ type: 'silence' }, { type: 'stall', afterBytes: 300_000 }])(
    'ends a read at once and its connection with it, after %j',
    async (fault) => {
      s3.server.script('GET', fault);
      const controller = new AbortController();
      const reason = new Error('enough');
      const target = new Uint8Array(bytes.length);
      const reading = s3.store.read('w', 0, target, controller.signal);
      const isUnderWay = (): boolean =>
        s3.ranges().length > 0 && (fault.type === 'silence' || target[299_999] === bytes[299_999]);
      await vi.waitUntil(isUnderWay, { interval: 5 });
      controller.abort(reason);
      await expect(reading).rejects.toBe(reason);
      await Promise.all(s3.server.requests.slice(1).map(({ ended }) => ended));
      const after = target.slice();
      await s3.store.close();
      await vi.waitUntil(() => s3.server.connections() === 0, { interval: 5 });
      expect(Buffer.from(target).equals(after)).toBe(true);
    },
  );

  it('ends a pause between attempts', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    s3.server.script('GET', { type: 'error', status: 503, code: 'SlowDown', retryAfter: '60' });
    const other = s3.open({
      clock: {
        sleep(ms, signal) {
          if (ms === 60_000) controller.abort(reason);
          return s3.clock.sleep(S3_STALL_MS, signal);
        },
      },
    });
    const reading = other.read('w', 0, new Uint8Array(10), controller.signal);
    await expect(reading).rejects.toBe(reason);
    await other.close();
  });

  it('ends writes, lists and removals that hang', async () => {
    for (const method of ['PUT', 'GET', 'DELETE']) s3.server.script(method, { type: 'silence' });
    const reason = new Error('enough');
    const controller = new AbortController();
    const { signal } = controller;
    const hanging = [
      s3.store.write('new', bytes, { signal }),
      s3.store.listPrefix('', signal)[Symbol.asyncIterator]().next(),
      s3.store.remove('w', signal),
    ];
    await vi.waitUntil(() => s3.server.requests.length === 3, { interval: 5 });
    controller.abort(reason);
    for (const each of hanging) await expect(each).rejects.toBe(reason);
    await Promise.all(s3.server.requests.map(({ ended }) => ended));
  });

  it('by closing ends what runs, and leaves no connection', async () => {
    s3.server.script('GET', { type: 'stall', afterBytes: 10 });
    const reading = s3.store.read('w', 0, new Uint8Array(1000));
    reading.catch(() => undefined);
    await vi.waitUntil(() => s3.ranges().length === 1, { interval: 5 });
    await s3.store.close();
    await expect(reading).rejects.toThrow('s3://models/m is closed');
    await vi.waitUntil(() => s3.server.connections() === 0, { interval: 5 });
  });
});
