import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { openSse, type SseEnd } from '../../src/openai/sse.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';

interface Opened {
  readonly clock: FakeClock;
  readonly abort: AbortController;
  readonly ends: SseEnd[];
  readonly body: Promise<ReadableStream<Uint8Array>>;
}

function open(items: AsyncIterable<unknown>): Opened {
  const clock = createFakeClock();
  const abort = new AbortController();
  const ends: SseEnd[] = [];
  const onEnd = (end: SseEnd): void => void ends.push(end);
  const body = openSse(items, { clock, abort, graceMs: 2_000, heartbeatMs: 15_000, onEnd });
  return { clock, abort, ends, body };
}

/** An item source under the test's control. */
function source(): {
  items: AsyncIterable<unknown>;
  give(item: unknown): void;
  fail(error: unknown): void;
  left: boolean;
} {
  let waiting:
    | { resolve(result: IteratorResult<unknown>): void; reject(error: unknown): void }
    | undefined;
  const state = {
    left: false,
    items: {
      [Symbol.asyncIterator]: () => ({
        next: () =>
          new Promise<IteratorResult<unknown>>((resolve, reject) => {
            waiting = { resolve, reject };
          }),
        return: async () => {
          state.left = true;
          return { done: true as const, value: undefined };
        },
      }),
    },
    give: (item: unknown) => waiting?.resolve({ done: false, value: item }),
    fail: (error: unknown) => waiting?.reject(error),
  };
  return state;
}

async function* listed(...items: readonly unknown[]): AsyncGenerator {
  yield* items;
}

async function* failing(error: Error): AsyncGenerator {
  yield 1;
  throw error;
}

/** Lets promises settle; no time passes on the fake clock. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function readText(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  const { value } = await reader.read();
  return new TextDecoder().decode(value);
}

describe('openSse', () => {
  it('frames items as JSON and ends with [DONE], holding no timer', async () => {
    const { body, ends, clock } = open(listed({ a: 1 }, 'two\nlines'));
    const text = await new Response(await body).text();
    expect(text).toBe('data: {"a":1}\n\ndata: "two\\nlines"\n\ndata: [DONE]\n\n');
    expect(ends).toEqual([{ outcome: 'ok' }]);
    expect(clock.sleeping()).toBe(0);
  });

  it('throws what fails before the first item, so that it gets a status', async () => {
    const slow = source();
    const { body, ends, clock } = open(slow.items);
    slow.fail(new ServeError('queue_full', 'busy'));
    await expect(body).rejects.toMatchObject({ code: 'queue_full' });
    expect(ends).toEqual([]);
    expect(clock.sleeping()).toBe(0);
  });

  it('commits after the grace period with a comment, then heartbeats while silent', async () => {
    const slow = source();
    const { body, clock } = open(slow.items);
    await settle();
    clock.advance(2_000);
    const reader = (await body).getReader();
    expect(await readText(reader)).toBe(': waiting\n\n');
    const second = readText(reader);
    await settle();
    clock.advance(15_000);
    expect(await second).toBe(': waiting\n\n');
    const third = readText(reader);
    slow.give(1);
    expect(await third).toBe('data: 1\n\n');
    expect(clock.sleeping()).toBe(0);
  });

  it('commits at once where it is told to, with what the heartbeat says then', async () => {
    const slow = source();
    const clock = createFakeClock();
    let line = 'loading 1%';
    const body = await openSse(slow.items, {
      clock,
      abort: new AbortController(),
      graceMs: 0,
      heartbeatMs: 15_000,
      heartbeat: () => line,
      onEnd: () => undefined,
    });
    const reader = body.getReader();
    expect(await readText(reader)).toBe(': loading 1%\n\n');
    const second = readText(reader);
    await settle();
    line = 'loading 2%';
    clock.advance(15_000);
    expect(await second).toBe(': loading 2%\n\n');
    await reader.cancel();
    slow.fail(new Error('nobody is left to hear of it'));
    await settle();
    expect(clock.sleeping()).toBe(0);
  });

  it('sends a late failure in-band and closes without [DONE]', async () => {
    const { body, ends } = open(failing(new ServeError('out_of_memory', 'no memory left')));
    expect(await new Response(await body).text()).toBe(
      'data: 1\n\ndata: {"error":{"message":"no memory left","type":"server_error","param":null,"code":"out_of_memory"}}\n\n',
    );
    expect(ends).toMatchObject([{ outcome: 'error' }]);
  });

  it('hides the text of errors that are not its own', async () => {
    const text = await new Response(await open(failing(new Error('SECRET'))).body).text();
    expect(text).toContain('"code":"internal"');
    expect(text).not.toContain('SECRET');
  });

  it('aborts and leaves the source when the reader cancels', async () => {
    const slow = source();
    const { body, abort, ends, clock } = open(slow.items);
    slow.give(1);
    const reader = (await body).getReader();
    await reader.read();
    const pending = reader.read();
    await reader.cancel();
    await pending;
    expect(abort.signal.aborted).toBe(true);
    expect(slow.left).toBe(true);
    slow.fail(abort.signal.reason);
    await settle();
    expect(ends).toEqual([{ outcome: 'aborted' }]);
    expect(clock.sleeping()).toBe(0);
  });

  it('takes nothing from the source that nobody reads', async () => {
    let taken = 0;
    async function* counting(): AsyncGenerator {
      for (;;) yield ++taken;
    }
    const reader = (await open(counting()).body).getReader();
    await reader.read();
    await settle();
    expect(taken).toBe(1);
    await reader.cancel();
  });
});
