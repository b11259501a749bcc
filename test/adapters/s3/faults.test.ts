import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Fault } from '../../support/fake-s3-fault.ts';
import { S3_BYTES as bytes, startS3Harness } from '../../support/s3-harness.ts';
import type { S3Harness } from '../../support/s3-harness.ts';
import { rejectedBy } from '../../support/thrown-by.ts';

const SIZE = bytes.length;
const OFFSET = 100_000;

let s3: S3Harness;
beforeEach(async () => {
  s3 = await startS3Harness();
});
afterEach(() => s3.close());

const readRest = async (source = s3.store): Promise<Uint8Array> => {
  const target = new Uint8Array(SIZE - OFFSET);
  await source.read('w', OFFSET, target);
  return target;
};

describe('a read from S3', () => {
  it('asks once for the head, then for exact ranges of that version', async () => {
    await s3.store.read('w', 0, new Uint8Array(8));
    await s3.store.read('w', 8, new Uint8Array(100));
    expect(s3.server.requests.map(({ method }) => method)).toEqual(['HEAD', 'GET', 'GET']);
    expect(s3.ranges()).toEqual(['bytes=0-7', 'bytes=8-107']);
    const etag = (await s3.store.head('w'))?.etag;
    expect(s3.server.requests.slice(1).map(({ headers }) => headers['if-match'])).toEqual([
      etag,
      etag,
    ]);
  });

  const cut: readonly Fault[] = [
    { type: 'truncate', afterBytes: 0 },
    { type: 'truncate', afterBytes: 300_000 },
    { type: 'truncate', afterBytes: SIZE - OFFSET - 1 },
    { type: 'reset', afterBytes: 0 },
    { type: 'reset', afterBytes: 300_000 },
    { type: 'lost-answer' },
    { type: 'error', status: 500, code: 'InternalError' },
    { type: 'error', status: 503, code: 'SlowDown' },
    { type: 'error', status: 400, code: 'RequestTimeout' },
    // A proxy in between that lies.
    { type: 'headers', headers: { 'content-length': SIZE } },
    { type: 'headers', headers: { 'content-length': 1000 } },
    { type: 'headers', headers: { 'content-range': `bytes 0-${SIZE - OFFSET - 1}/${SIZE}` } },
    { type: 'headers', headers: { 'content-range': `bytes ${OFFSET}-${SIZE - 1}/${SIZE + 5}` } },
    { type: 'headers', headers: { 'content-range': 'nonsense' } },
  ];

  it.each(cut)('goes on from the last good byte after %j', async (fault) => {
    s3.server.script('GET', fault);
    expect(Buffer.from(await readRest()).equals(bytes.subarray(OFFSET))).toBe(true);
    expect(s3.clock.pauses).toEqual([250]);
    const [first, second, ...others] = s3.ranges();
    expect(others).toEqual([]);
    expect(first).toBe(`bytes=${OFFSET}-${SIZE - 1}`);
    const from = Number(/^bytes=(\d+)-/.exec(second ?? '')?.[1]);
    const good = 'afterBytes' in fault ? fault.afterBytes : 0;
    expect(from).toBeGreaterThanOrEqual(OFFSET);
    expect(from).toBeLessThanOrEqual(OFFSET + good);
    // What a reset tears from the line is not known; a closed connection brings all of it.
    if (fault.type === 'truncate') expect(from).toBe(OFFSET + good);
  });

  it.each<Fault>([
    { type: 'silence' },
    { type: 'stall', afterBytes: 0 },
    { type: 'stall', afterBytes: 300_000 },
  ])('gives up on silence and goes on after %j', async (fault) => {
    await s3.store.head('w');
    s3.server.script('GET', fault);
    s3.server.onRequest = ({ method }) => {
      if (method === 'GET') s3.clock.impatientUntil = 1;
    };
    expect(Buffer.from(await readRest()).equals(bytes.subarray(OFFSET))).toBe(true);
    expect(s3.clock.pauses).toEqual([250]);
    await s3.server.requests.find(({ method }) => method === 'GET')?.ended;
  });

  it('survives many faults in one read, each forgiven by progress', async () => {
    for (let i = 1; i <= 12; i++) s3.server.script('GET', { type: 'truncate', afterBytes: 40_000 });
    expect(Buffer.from(await readRest()).equals(bytes.subarray(OFFSET))).toBe(true);
    expect(s3.clock.pauses).toEqual(Array(12).fill(250));
  });

  it('waits longer and longer in a burst of SlowDown, as long as asked, and with a spread', async () => {
    const slowDown: Fault = { type: 'error', status: 503, code: 'SlowDown' };
    s3.server.script('GET', { ...slowDown, retryAfter: '3' });
    s3.server.script('GET', { ...slowDown, status: 429 });
    s3.server.script('GET', slowDown, 3);
    const other = s3.open({ random: () => 1 });
    await readRest(other);
    await other.close();
    expect(s3.clock.pauses).toEqual([4500, 750, 1500, 3000, 6000]);
  });

  it('gives up after six failures in a row, naming what failed', async () => {
    s3.server.script('GET', { type: 'error', status: 503, code: 'SlowDown' }, 100);
    const error = await rejectedBy(readRest());
    expect(error.code).toBe('weights_unavailable');
    expect(error.message).toContain('s3://models/m: w: the server answered 503 SlowDown');
    expect(error.message).toContain('after 6 attempts');
    expect(s3.ranges().length).toBe(6);
  });

  it('says what a lying server said when it does not stop', async () => {
    s3.server.script('GET', { type: 'headers', headers: { 'content-range': 'bytes 5-9/10' } }, 100);
    expect((await rejectedBy(readRest())).message).toContain('"bytes 5-9/10"');
  });

  it('retries the head as well', async () => {
    s3.server.script('HEAD', { type: 'error', status: 503, code: 'SlowDown' }, 2);
    s3.server.script('HEAD', { type: 'lost-answer' });
    expect((await s3.store.head('w'))?.sizeBytes).toBe(SIZE);
    expect(s3.clock.pauses).toEqual([250, 500, 1000]);
  });

  it('stops when the object changes, and reads the new version the next time', async () => {
    await s3.store.head('w');
    const other = bytes.map((byte) => byte ^ 255);
    s3.server.put('m/w', other);
    expect((await rejectedBy(readRest())).message).toContain('w changed while it was read');
    expect(Buffer.from(await readRest()).equals(other.subarray(OFFSET))).toBe(true);
  });

  it('stops when the object changes between a broken answer and the rest', async () => {
    s3.server.script('GET', { type: 'truncate', afterBytes: 1000 });
    s3.server.onRequest = ({ method }) => {
      if (method === 'GET' && s3.ranges().length === 2) s3.server.put('m/w', bytes.toReversed());
    };
    expect((await rejectedBy(readRest())).message).toContain('changed while it was read');
  });

  it('notices a changed object even when the server ignores If-Match', async () => {
    s3.server.script('GET', { type: 'headers', headers: { etag: '"other"' } });
    expect((await rejectedBy(readRest())).message).toContain('changed while it was read');
  });

  it('stops when the object is removed or cut meanwhile', async () => {
    await s3.store.head('w');
    s3.server.put('m/w', bytes.subarray(0, 10));
    expect((await rejectedBy(readRest())).message).toContain('changed while it was read');
    await s3.store.head('w');
    s3.server.objects.delete('m/w');
    const target = new Uint8Array(4);
    expect((await rejectedBy(s3.store.read('w', 0, target))).message).toContain('changed');
    expect(await s3.store.head('w')).toBeNull();
  });

  it('says so when a server ignores ranges, but takes a whole object from it', async () => {
    const answer = { status: 200, headers: { 'content-length': SIZE }, body: bytes };
    s3.server.script('GET', { type: 'answer', answer }, 2);
    expect((await rejectedBy(readRest())).message).toContain('ignores range requests');
    const whole = new Uint8Array(SIZE);
    await s3.store.read('w', 0, whole);
    expect(Buffer.from(whole).equals(bytes)).toBe(true);
  });

  it('does not see a flipped bit: ranges have no checksums, files have', async () => {
    s3.server.script('GET', { type: 'flip-bit', atByte: 5000 });
    const read = await readRest();
    const wrong = [...read.keys()].filter((i) => read[i] !== bytes[OFFSET + i]);
    expect(wrong).toEqual([5000]);
  });
});
