import { describe, expect, it } from 'vitest';
import { CHAT, createHttpClient, ENDLESS, framesOf, TEXT, textOf } from './http-client.ts';
import type { HttpClient } from './http-client.ts';
import type { EngineLoad, HttpTarget } from './http-target.ts';

const messages = [{ role: 'user', content: 'Hello' }];
/** Megabytes of answer: more than any socket buffers. */
const LONG = { messages, ...ENDLESS, max_tokens: 8_000, logprobs: true, top_logprobs: 20 };

/** How answers begin, flow and end. */
export function describeHttpStreams(target: () => HttpTarget): void {
  const client = (): HttpClient => createHttpClient((path, init) => target().send(path, init));

  describe('answers under way', () => {
    it('may not be kept by proxies when they are streams', async () => {
      const body = { messages, ...ENDLESS, max_tokens: 2, stream: true };
      const response = await client().post(CHAT, body);
      expect(response.headers.get('cache-control')).toBe('no-cache, no-transform');
      framesOf(await response.text());
    });

    it('arrive while they are made', async (context) => {
      if (!target().holdsBack) context.skip();
      const response = await client().post(CHAT, { ...LONG, stream: true });
      const { done } = await readOnce(response, (reader) => reader.cancel());
      expect(done).toBe(false);
    });

    it('do not mix', async () => {
      const { stream } = client();
      const bodies = [11, 12].map((seed) => ({ messages, ...ENDLESS, seed, max_tokens: 200 }));
      const alone: string[] = [];
      for (const body of bodies) alone.push(textOf(await stream(CHAT, body)));
      const together = await Promise.all(bodies.map((body) => stream(CHAT, body)));
      expect(together.map((chunks) => textOf(chunks))).toEqual(alone);
      for (const chunks of together) expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
    });

    it('carry every language, however the answer is cut', async () => {
      const prompt = 'grüße, 日本語, 👩‍🚀';
      const body = { prompt, ...ENDLESS, max_tokens: 2, echo: true, stream: true };
      for (const pieceBytes of [1, 7]) {
        const response = await client().post(TEXT, body);
        // Cut inside characters, as networks do.
        const text = decodeInPieces(new Uint8Array(await response.arrayBuffer()), pieceBytes);
        expect(textOf(framesOf(text)).startsWith(prompt)).toBe(true);
      }
    });

    it('end on the engine when their reader leaves', async (context) => {
      const { load, tellsGoneClients } = target();
      if (load === undefined || !tellsGoneClients) {
        context.skip();
        return;
      }
      const before = await until(load, isIdle);
      const response = await client().post(CHAT, { ...LONG, stream: true });
      await readOnce(response, async (reader) => {
        expect((await load()).active).toBe(1);
        await reader.cancel();
      });
      const after = await until(load, isIdle);
      expect(after.steps - before.steps).toBeLessThan(LONG.max_tokens);
    });

    it('end on the engine when their request is aborted', async (context) => {
      const { load, tellsGoneClients } = target();
      if (load === undefined || !tellsGoneClients) {
        context.skip();
        return;
      }
      const abort = new AbortController();
      const { signal } = abort;
      const response = await client().post(CHAT, { ...LONG, stream: true }, { signal });
      await readOnce(response, async (reader) => {
        abort.abort();
        await reader.cancel().catch(() => undefined);
      });
      await until(load, isIdle);
    });

    it('end on the engine when their request is aborted, though they are no streams', async (context) => {
      const { load, tellsGoneClients } = target();
      if (load === undefined || !tellsGoneClients) {
        context.skip();
        return;
      }
      const before = await until(load, isIdle);
      const abort = new AbortController();
      const { signal } = abort;
      const body = { messages, ...ENDLESS, max_tokens: LONG.max_tokens };
      const answer = client().post(CHAT, body, { signal });
      answer.catch(() => undefined); // or a status that nobody sees
      await until(load, ({ active }) => active === 1);
      abort.abort();
      const after = await until(load, isIdle);
      expect(after.steps - before.steps).toBeLessThan(LONG.max_tokens);
    });

    it('wait for slow readers instead of piling up', async (context) => {
      const { load, holdsBack } = target();
      if (load === undefined || !holdsBack) {
        context.skip();
        return;
      }
      const before = await until(load, isIdle);
      const response = await client().post(CHAT, { ...LONG, stream: true });
      await readOnce(response, async (reader) => {
        let now = await load();
        // A stream that stands still does so over many looks.
        for (let same = 0; same < 50; same++) {
          const next = await load();
          if (next.steps !== now.steps) same = 0;
          now = next;
        }
        expect(now.active).toBe(1);
        expect(now.steps - before.steps).toBeLessThan(LONG.max_tokens);
        // It was paused, not forgotten.
        for (let read = 0; read < 5; read++) expect((await reader.read()).done).toBe(false);
        await reader.cancel();
      });
      if (target().tellsGoneClients) await until(load, isIdle);
    });
  });
}

type Reader = ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;

/** Reads the first bytes and hands over the rest. */
async function readOnce(
  response: Response,
  then: (reader: Reader) => Promise<void>,
): Promise<{ readonly done: boolean }> {
  expect(response.status).toBe(200);
  if (response.body === null) throw new Error('the stream has no body');
  const reader: Reader = response.body.getReader();
  const { done } = await reader.read();
  await then(reader);
  return { done };
}

function isIdle({ active }: EngineLoad): boolean {
  return active === 0;
}

/** Asks until it is so; the test's own time limit ends what never is. */
async function until(
  load: () => Promise<EngineLoad>,
  isSo: (load: EngineLoad) => boolean,
): Promise<EngineLoad> {
  for (;;) {
    const now = await load();
    if (isSo(now)) return now;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function decodeInPieces(bytes: Uint8Array, pieceBytes: number): string {
  const decoder = new TextDecoder();
  let text = '';
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    text += decoder.decode(bytes.subarray(at, at + pieceBytes), { stream: true });
  }
  return text + decoder.decode();
}
