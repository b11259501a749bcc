import { describe, expect, it } from 'vitest';
import { createFakeBackend } from '../../adapters/fake/backend.ts';
import { fakeModelConfig } from '../../adapters/fake/config.ts';
import type { KvPage, PrefillChunk } from '../../src/engine/backend.ts';
import { describeBackend } from '../contracts/backend.ts';
import { createFakeClock } from '../support/fake-clock.ts';

describeBackend('fake, rings of real alignment', () => createFakeBackend());
describeBackend('fake, rings that turn often', () =>
  createFakeBackend({
    config: fakeModelConfig({ windowTokens: 9, maxPositions: 512 }),
    chunkTokens: 11,
    alignTokens: 4,
  }),
);

function chunk(tokens: readonly number[], row = 0, start = 0): PrefillChunk {
  return { row, start, tokens: Int32Array.from(tokens), image: null, logits: 'last' };
}

/** Lets what can go on without the clock go on. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function logitsOf(prompt: readonly number[]): Promise<string> {
  const backend = createFakeBackend();
  return (await backend.forward({ decode: [], chunk: chunk(prompt) })).chunk.join();
}

describe('fake backend', () => {
  it('lets every token of the row and its position change the next logits', async () => {
    const tokens = Array.from({ length: 60 }, (_, at) => 20 + (at % 30));
    const seen = new Set([await logitsOf(tokens)]);
    for (let at = 0; at < tokens.length; at++) seen.add(await logitsOf(tokens.with(at, 99)));
    seen.add(await logitsOf(tokens.slice(1)));
    expect(seen.size).toBe(62);
  });

  it('spoils the results of the last step when the next begins', async () => {
    const backend = createFakeBackend();
    const first = await backend.forward({ decode: [], chunk: chunk([20, 21]) });
    await backend.forward({ decode: [], chunk: chunk([22, 23], 1) });
    expect(first.chunk.every(Number.isNaN)).toBe(true);
  });

  it('refuses a second step while one runs, and a row in both parts of a step', async () => {
    const backend = createFakeBackend();
    const first = backend.forward({ decode: [], chunk: chunk([20, 21]) });
    await expect(backend.forward({ decode: [], chunk: chunk([20], 1) })).rejects.toThrow('another');
    await first;
    const entry = { row: 0, start: 2, token: 20 };
    await expect(
      backend.forward({ decode: [entry], chunk: chunk([20, 21], 0, 2) }),
    ).rejects.toThrow('both');
    await expect(
      backend.forward({ decode: [{ row: 1, start: 0, token: 20 }, entry], chunk: null }),
    ).rejects.toThrow('ascend');
  });

  it('fails as it is told, before anything changes', async () => {
    const backend = createFakeBackend({
      beforeForward: () => {
        throw new Error('device lost');
      },
    });
    await expect(backend.forward({ decode: [], chunk: chunk([20, 21]) })).rejects.toThrow('lost');
    expect([backend.length(0), backend.rowsInUse()]).toEqual([0, 0]);
  });

  it('takes the time it is told to', async () => {
    const clock = createFakeClock();
    const backend = createFakeBackend({ pace: { clock, tokenMs: 5, imageMs: 0 } });
    const running = backend.forward({ decode: [], chunk: chunk([20, 21]) });
    await Promise.resolve();
    await Promise.resolve();
    clock.advance(9);
    expect(backend.length(0)).toBe(0);
    clock.advance(1);
    await running;
    expect(backend.length(0)).toBe(2);
  });

  it('fails pages as it is told: a row written to is empty then, a row read from is not', async () => {
    let failing: 'read' | 'write' | null = null;
    const backend = createFakeBackend({
      beforeKv: (kind) => {
        if (kind === failing) throw new Error(`no ${kind}`);
      },
    });
    await backend.forward({ decode: [], chunk: chunk([20, 21]) });
    const page = await backend.readKv(0, 0, 2);
    failing = 'read';
    await expect(backend.readKv(0, 0, 2)).rejects.toThrow('no read');
    failing = 'write';
    await expect(backend.writeKv(0, [page], 2, 0)).rejects.toThrow('no write');
    expect([backend.length(0), backend.pageCounts()]).toEqual([0, { read: 1, written: 0 }]);
    failing = null;
    await backend.writeKv(1, [page], 2, 0);
    expect([backend.length(1), backend.pageCounts()]).toEqual([2, { read: 1, written: 1 }]);
  });

  it('takes time for the tokens of pages, not for those a row keeps', async () => {
    const clock = createFakeClock();
    const pace = { clock, tokenMs: 0, imageMs: 0, kvTokenMs: 3 };
    const backend = createFakeBackend({ pace });
    const running = backend.forward({ decode: [], chunk: chunk([20, 21, 22, 23]) });
    await settle();
    clock.advance(0);
    await running;
    let read: KvPage | null = null;
    const reading = backend.readKv(0, 0, 4).then((page) => {
      read = page;
      return page;
    });
    await settle();
    clock.advance(11);
    await settle();
    expect(read).toBeNull();
    clock.advance(1);
    const page = await reading;
    const writing = backend.writeKv(0, [page], 4, 3);
    await settle();
    clock.advance(3);
    await writing;
    expect(backend.length(0)).toBe(4);
  });
});
