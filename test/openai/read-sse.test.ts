import { describe, expect, it } from 'vitest';
import { readSse } from '../../src/openai/read-sse.ts';
import { forSeeds } from '../support/seeded-random.ts';

function streamOf(chunks: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream(
    {
      pull(controller) {
        const chunk = chunks[at++];
        if (chunk === undefined) controller.close();
        else controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
}

async function read(chunks: readonly Uint8Array[]): Promise<string[]> {
  const events: string[] = [];
  for await (const event of readSse(streamOf(chunks))) events.push(event);
  return events;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('readSse', () => {
  it.each([
    ['data: a\n\ndata: b\n\n', ['a', 'b']],
    ['data: a\r\n\r\ndata: b\r\rdata:c\n\n', ['a', 'b', 'c']],
    ['data: {"a":\ndata: 1}\n\n', ['{"a":\n1}']],
    [': ping\n\nevent: error\nid: 7\nretry: 9\ndata: x\n\n: end\n\n', ['x']],
    ['data\n\ndata:\n\ndata:  two\n\n', ['', '', ' two']],
    ['dataset: no\nnonsense\n\ndata: yes\n\n', ['yes']],
    ['data: whole\n', ['whole']],
    ['data: whole\n\ndata: cut o', ['whole']],
    ['\uFEFFdata: marked\n\n', ['marked']],
    ['', []],
  ])('reads %j', async (text, expected) => {
    expect(await read([bytes(text)])).toEqual(expected);
  });

  it('reads the same however it is split', async () => {
    const text = 'data: é€😀\r\n\r\n: note\r\ndata: a\rdata: b\r\n\ndata: [DONE]\n\n';
    const all = bytes(text);
    await forSeeds(300, async (random) => {
      const chunks: Uint8Array[] = [];
      for (let at = 0; at < all.length;) {
        const length = random.integer(0, 4);
        chunks.push(all.subarray(at, at + length));
        at += length;
      }
      expect(await read(chunks)).toEqual(['é€😀', 'a\nb', '[DONE]']);
    });
  });

  it('pulls no further than it is read, and lets go when left', async () => {
    let pulled = 0;
    let isCancelled = false;
    const stream = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          controller.enqueue(bytes(`data: ${pulled++}\n\n`));
        },
        cancel() {
          isCancelled = true;
        },
      },
      { highWaterMark: 0 },
    );
    for await (const event of readSse(stream)) if (event === '2') break;
    expect(pulled).toBe(3);
    expect(isCancelled).toBe(true);
  });

  it('tells of every arrival, comments included', async () => {
    let count = 0;
    const chunks = [': one\n\n', ': two\n\n', 'data: x\n\n'].map(bytes);
    for await (const _ of readSse(streamOf(chunks), () => count++)) expect(count).toBe(3);
    expect(count).toBe(3);
  });
});
