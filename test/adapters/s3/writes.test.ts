import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Fault } from '../../support/fake-s3-fault.ts';
import { S3_BYTES as bytes, S3_STALL_MS, startS3Harness } from '../../support/s3-harness.ts';
import type { S3Harness } from '../../support/s3-harness.ts';

let s3: S3Harness;
beforeEach(async () => {
  s3 = await startS3Harness();
});
afterEach(() => s3.close());

describe('a write to S3', () => {
  it.each<Fault>([
    { type: 'error', status: 503, code: 'SlowDown' },
    { type: 'error', status: 409, code: 'ConditionalRequestConflict' },
    { type: 'lost-answer' },
  ])('is repeated after %j', async (fault) => {
    s3.server.script('PUT', fault);
    const written = await s3.store.write('a/b', bytes);
    expect(written?.sizeBytes).toBe(bytes.length);
    expect(
      Buffer.from(bytes).equals(s3.server.objects.get('m/a/b')?.bytes ?? bytes.subarray(1)),
    ).toBe(true);
    expect(s3.clock.pauses).toEqual([250]);
  });

  it('knows an object that must be absent for its own when the answer was lost', async () => {
    s3.server.script('PUT', { type: 'lost-answer' });
    const written = await s3.store.write('a', bytes, { ifAbsent: true });
    expect(written).toEqual({ sizeBytes: bytes.length, etag: s3.server.objects.get('m/a')?.etag });
    s3.server.script('PUT', { type: 'lost-answer' });
    expect(await s3.store.write('a', bytes, { ifAbsent: true })).toBeNull();
  });

  it('gives a silent upload more time the longer it is', async () => {
    s3.server.script('PUT', { type: 'silence' });
    s3.server.onRequest = () => {
      s3.clock.impatientUntil = 1;
    };
    await s3.store.write('a', bytes);
    expect(s3.clock.pauses).toEqual([250]);
    // A second for each MiB.
    expect(s3.clock.watches).toContain(S3_STALL_MS + 668);
  });

  it('repeats lists and removals', async () => {
    s3.server.script('GET', { type: 'error', status: 503, code: 'SlowDown' });
    s3.server.script('DELETE', { type: 'lost-answer' });
    expect(await s3.store.list?.()).toEqual(['w']);
    await s3.store.remove('w');
    expect(s3.server.objects.has('m/w')).toBe(false);
    expect(s3.clock.pauses).toEqual([250, 250]);
  });
});
