import { describe, expect, it } from 'vitest';
import { createDownloads } from '../../src/image/download-limits.ts';

const LIMITS = { maxDownloads: 6, maxPerHost: 2, maxBytes: 100 };

interface Gate {
  readonly name: string;
  open(): void;
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Downloads that stay under way until their gate is opened, then are decoded until the next is. */
function start(limits = LIMITS) {
  const downloads = createDownloads(limits);
  const fetching: Gate[] = [];
  const decoding: Gate[] = [];
  const wait = (list: Gate[], name: string): Promise<void> =>
    new Promise((resolve) => {
      list.push({ name, open: resolve });
    });
  return {
    fetching,
    decoding,
    names: (list: readonly Gate[]) => list.map(({ name }) => name).join(' '),
    load: (host: string, name: string, sizeBytes: number, signal?: AbortSignal) =>
      downloads.run(
        host,
        signal,
        async (reserve) => {
          await reserve(sizeBytes);
          await wait(fetching, name);
          return new Uint8Array(sizeBytes);
        },
        async (file) => {
          await wait(decoding, name);
          return file.length;
        },
      ),
  };
}

describe('downloads of pictures', () => {
  it('are few at once, and fewer from one host', async () => {
    const { load, fetching, names } = start();
    for (let at = 0; at < 4; at++) void load('a', `a${at}`, 1);
    for (let host = 0; host < 8; host++) void load(`h${host}`, `h${host}`, 1);
    await settle();
    expect(names(fetching)).toBe('a0 a1 h0 h1 h2 h3');
  });

  it('from a host that is slow do not take the places of others', async () => {
    const { load, fetching, names } = start();
    for (let at = 0; at < 100; at++) void load('slow', `s${at}`, 1);
    void load('other', 'o', 1);
    await settle();
    expect(names(fetching)).toBe('s0 s1 o');
  });

  it('hold no more bytes than there is room for, until they are decoded', async () => {
    const { load, fetching, decoding, names } = start();
    const first = load('a', 'first', 60);
    void load('b', 'second', 60);
    void load('c', 'small', 10);
    await settle();
    // In order of arrival: nobody who needs little overtakes one who needs much, for ever.
    expect(names(fetching)).toBe('first');
    fetching[0]?.open();
    await settle();
    expect(names(fetching)).toBe('first');
    decoding[0]?.open();
    expect(await first).toBe(60);
    await settle();
    expect(names(fetching)).toBe('first second small');
  });

  it('larger than all room go alone', async () => {
    const { load, fetching, names } = start();
    void load('a', 'huge', 1_000);
    void load('b', 'small', 1);
    await settle();
    expect(names(fetching)).toBe('huge');
  });

  it('that are given up while they wait let those behind them go on', async () => {
    const { load, fetching, names } = start();
    const controller = new AbortController();
    void load('a', 'first', 90);
    const second = load('b', 'second', 60, controller.signal);
    void load('c', 'small', 10);
    await settle();
    controller.abort(new Error('gone'));
    await expect(second).rejects.toThrow('gone');
    await settle();
    expect(names(fetching)).toBe('first small');
  });
});
