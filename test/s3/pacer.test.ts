import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createPacer } from '../support/pacer.ts';

/** Timers that come late, as real ones do. */
const LATE_MS = 0.7;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance', 'setTimeout'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Milliseconds that `streams` take together for `pieces` pieces each. */
async function timeOf(
  bytesPerSecond: number,
  streams: number,
  pieces: number,
  pieceBytes: number,
): Promise<number> {
  const pacer = createPacer(bytesPerSecond);
  const begin = performance.now();
  let end = begin;
  const send = async (): Promise<void> => {
    for (let i = 0; i < pieces; i++) await pacer.take(pieceBytes);
    end = performance.now();
  };
  const state = { isDone: false };
  const all = Promise.all(Array.from({ length: streams }, send)).finally(() => {
    state.isDone = true;
  });
  while (!state.isDone) await vi.advanceTimersByTimeAsync(1 + LATE_MS);
  await all;
  return end - begin;
}

it.each([
  [125e6, 1],
  [125e6, 8],
  [1.25e9, 1],
  [1.25e9, 8],
])('holds %d bytes a second over %i connections, late timers included', async (rate, streams) => {
  const pieceBytes = 262_144;
  const pieces = Math.round(rate / pieceBytes / streams);
  const expectedMs = ((pieces * pieceBytes * streams) / rate) * 1000;
  const took = await timeOf(rate, streams, pieces, pieceBytes);
  expect(took).toBeGreaterThan(expectedMs * 0.99);
  expect(took).toBeLessThan(expectedMs * 1.01);
});

it('gives no credit for a time in which nothing was sent', async () => {
  const pacer = createPacer(1e6);
  await Promise.all([pacer.take(1000), vi.advanceTimersByTimeAsync(1)]);
  await vi.advanceTimersByTimeAsync(10_000);
  const begin = performance.now();
  const sent = pacer.take(1e6).then(() => performance.now());
  await vi.advanceTimersByTimeAsync(1100);
  expect((await sent) - begin).toBeGreaterThanOrEqual(1000);
});
