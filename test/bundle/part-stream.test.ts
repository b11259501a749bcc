import { describe, expect, it } from 'vitest';
import { createPartStream } from '../../src/bundle/part-stream.ts';
import { createPartWriter } from '../../src/bundle/part-writer.ts';
import { memoryStore, type MemoryStore } from '../support/memory-store.ts';
import { forSeeds } from '../support/seeded-random.ts';

async function storeBytes(bytes: Uint8Array, partBytes: number) {
  const store = memoryStore();
  const writer = createPartWriter({ store, partBytes, inFlight: 3, onPart: () => undefined });
  await writer.append(bytes);
  return { store, parts: await writer.finish() };
}

const bytesOf = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, at) => (at * 7 + (at >> 8)) & 255);

async function readRange(
  stream: ReturnType<typeof createPartStream>,
  offset: number,
  sizeBytes: number,
): Promise<Uint8Array> {
  const out = new Uint8Array(sizeBytes);
  await stream.read(offset, sizeBytes, (bytes, at) => out.set(bytes, at));
  return out;
}

const partReads = (store: MemoryStore): number => store.reads.length;

describe('a stream of parts', () => {
  it('gives every range its bytes, in whatever order and however many at once', async () => {
    await forSeeds(200, async (random) => {
      const bytes = bytesOf(random.integer(1, 4000));
      const partBytes = 64 * random.integer(1, 8);
      const { store, parts } = await storeBytes(bytes, partBytes);
      const ranges: { offset: number; sizeBytes: number }[] = [];
      for (let offset = 0; offset < bytes.length;) {
        const sizeBytes = Math.min(bytes.length - offset, random.integer(1, 900));
        ranges.push({ offset, sizeBytes });
        offset += sizeBytes;
      }
      let arrived = 0;
      const stream = createPartStream({
        source: store,
        stream: { sizeBytes: bytes.length, parts },
        ranges,
        inFlight: random.integer(1, 4),
        ahead: random.integer(1, 6),
        onBytes: (count) => (arrived += count),
      });
      const order = random.chance(0.5)
        ? ranges
        : ranges.toSorted(() => random.integer(0, 1) * 2 - 1);
      const lanes = random.integer(1, 4);
      let next = 0;
      await Promise.all(
        Array.from({ length: lanes }, async () => {
          while (next < order.length) {
            const range = order[next++];
            if (range === undefined) return;
            const { offset, sizeBytes } = range;
            expect(await readRange(stream, offset, sizeBytes)).toEqual(
              bytes.slice(offset, offset + sizeBytes),
            );
          }
        }),
      );
      // Nothing was fetched twice.
      expect(partReads(store)).toBe(parts.length);
      expect(arrived).toBe(bytes.length);
      // What was read may be read again, at the price of another fetch.
      expect(await readRange(stream, 0, bytes.length)).toEqual(bytes);
      expect(await readRange(stream, 0, 1)).toEqual(bytes.slice(0, 1));
    });
  });

  it('fetches ahead, but holds no more than it may', async () => {
    const bytes = bytesOf(64 * 40);
    const { store, parts } = await storeBytes(bytes, 64);
    const stream = createPartStream({
      source: store,
      stream: { sizeBytes: bytes.length, parts },
      ranges: [{ offset: 0, sizeBytes: bytes.length }],
      inFlight: 4,
      ahead: 6,
    });
    await readRange(stream, 0, 64);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(partReads(store)).toBe(1 + 6);
  });

  it('asks again for bytes that came wrong once, and refuses those that stay wrong', async () => {
    const bytes = bytesOf(640);
    const { store, parts } = await storeBytes(bytes, 64);
    let wrong = 2;
    store.onRead = (_, target) => {
      if (wrong-- > 0) target[3] = (target[3] ?? 0) ^ 1;
    };
    const options = {
      source: store,
      stream: { sizeBytes: bytes.length, parts },
      ranges: [{ offset: 0, sizeBytes: bytes.length }],
      inFlight: 1,
      ahead: 1,
    };
    expect(await readRange(createPartStream(options), 0, 640)).toEqual(bytes);
    store.onRead = (_, target) => {
      target[3] = (target[3] ?? 0) ^ 1;
    };
    const stream = createPartStream(options);
    await expect(readRange(stream, 0, 640)).rejects.toThrow('does not hold the bytes');
    // The fault over, the same stream goes on.
    store.onRead = () => undefined;
    expect(await readRange(stream, 0, 640)).toEqual(bytes);
  });

  it('ends with its signal', async () => {
    const bytes = bytesOf(640);
    const { store, parts } = await storeBytes(bytes, 64);
    const controller = new AbortController();
    store.onRead = () => controller.abort(new Error('enough'));
    const stream = createPartStream({
      source: store,
      stream: { sizeBytes: bytes.length, parts },
      ranges: [{ offset: 0, sizeBytes: bytes.length }],
      signal: controller.signal,
    });
    await expect(readRange(stream, 0, 640)).rejects.toThrow('enough');
  });
});
