import { afterEach, describe, expect, it } from 'vitest';
import {
  createUpstreamCompleter,
  type UpstreamCompleterOptions,
} from '../../adapters/openai/completer.ts';
import type { Completer } from '../../src/completer.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { collect, textOf } from '../support/completions.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { BY_IDS, CHAT, plainRequest } from '../support/upstream-harness.ts';

const MEBIBYTE = 2 ** 20;
const STREAM = { 'content-type': 'text/event-stream' };
const JSON_TYPE = { 'content-type': 'application/json' };

const open: Completer[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((completer) => completer.close()));
});

interface Hostile {
  readonly completer: Completer;
  /** Bytes that were taken of the answers' bodies. */
  takenBytes(): number;
}

interface Answer {
  readonly pieces: () => Iterable<string>;
  readonly status?: number;
  readonly headers?: Record<string, string>;
  /** Route that is answered so; by default those that complete. */
  readonly route?: RegExp;
}

/** A completer over a server whose answers come piece by piece, as they are taken. */
function hostile(answer: Answer, options: Partial<UpstreamCompleterOptions> = {}): Hostile {
  const { pieces, status = 200, headers = STREAM, route = /completion|generate/ } = answer;
  let takenBytes = 0;
  const fetch = async (url: string): Promise<Response> => {
    if (!route.test(url)) {
      return url.endsWith('/models')
        ? Response.json({ data: [{ id: 'gemma', max_model_len: 512 }] })
        : Response.json({});
    }
    const source = pieces()[Symbol.iterator]();
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          const next = source.next();
          if (next.done === true) return controller.close();
          const bytes = new TextEncoder().encode(next.value);
          takenBytes += bytes.length;
          controller.enqueue(bytes);
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body, { status, headers });
  };
  const completer = createUpstreamCompleter({
    baseUrl: 'http://upstream',
    kind: 'vllm',
    clock: systemClock,
    maxAttempts: 1,
    fetch,
    ...options,
  });
  open.push(completer);
  return { completer, takenBytes: () => takenBytes };
}

const ask = ({ completer }: Hostile, sampling = {}) =>
  collect(completer.complete(plainRequest({ maxTokens: 5, ...sampling }, { prompt: CHAT })));

/** Ends only at a bound so far away that a test which reaches it has failed. */
function* flood(piece: string, head = ''): Generator<string> {
  if (head !== '') yield head;
  for (let sent = 0; sent < 16 * MEBIBYTE; sent += piece.length) yield piece;
}

const delta = (content: string, rest: object = {}): string =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, ...rest }] })}\n\n`;
const END = delta('', { finish_reason: 'stop' });

describe('a server that was taken over', () => {
  it('is cut off in a line without end', async () => {
    const server = hostile({ pieces: () => flood('x'.repeat(MEBIBYTE), 'data: ') });
    await expect(ask(server)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(server.takenBytes()).toBeLessThan(8 * MEBIBYTE);
  });

  it('is cut off in an event of lines without end', async () => {
    const line = `data: ${'x'.repeat(2 ** 16)}\n`;
    const server = hostile({ pieces: () => flood(line) });
    await expect(ask(server)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(server.takenBytes()).toBeLessThan(8 * MEBIBYTE);
  });

  it('is not listened to in an error without end', async () => {
    const server = hostile({
      pieces: () => flood('x'.repeat(2 ** 16), 'no such thing '),
      status: 400,
      headers: JSON_TYPE,
    });
    await expect(ask(server)).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining('no such thing'),
    });
    expect(server.takenBytes()).toBeLessThan(4 * 2 ** 16);
  });

  it('is cut off in an answer without end that is no stream', async () => {
    const pieces = (): Iterable<string> => flood('x'.repeat(MEBIBYTE), '{"choices":[{"text":"');
    const server = hostile({ pieces, headers: JSON_TYPE });
    await expect(ask(server)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(server.takenBytes()).toBeLessThan(8 * MEBIBYTE);
  });

  it('is cut off in a description of itself without end', async () => {
    const pieces = (): Iterable<string> => flood('x'.repeat(MEBIBYTE), '{"data":"');
    // Nobody waits for it to come up: the first look is the last.
    const server = hostile({ pieces, headers: JSON_TYPE, route: /models/ }, { coldMs: 0 });
    await expect(ask(server)).rejects.toMatchObject({ code: 'model_loading' });
    expect(server.takenBytes()).toBeLessThan(8 * MEBIBYTE);
  });

  it.each<[string, string]>([
    ['tokens', delta('a', { token_ids: [80] })],
    ['text whose tokens it does not tell', delta('a')],
    ['frames that say nothing', delta('')],
  ])('is cut off after the %s that were asked for', async (_what, frame) => {
    const server = hostile({ pieces: () => flood(frame) });
    await expect(ask(server)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    expect(server.takenBytes()).toBeLessThan(2 * 2 ** 16);
  });

  it('is cut off in one frame of more tokens or text than were asked for', async () => {
    const ids = delta('aaaaaaaaa', { token_ids: Array<number>(9).fill(80) });
    for (const frame of [ids, delta('a'.repeat(2 ** 20))]) {
      const server = hostile({ pieces: () => [frame, END] });
      await expect(ask(server)).rejects.toMatchObject({ code: 'upstream_unavailable' });
    }
  });

  it('may say one token more, which some show of the end of a turn', async () => {
    const said = Array<string>(6).fill(delta('a', { token_ids: [80] }));
    const server = hostile({ pieces: () => [...said, END] });
    expect(textOf(await ask(server))).toBe('aaaaaa');
  });

  it('answers up to the context where no limit was asked for, and no further', async () => {
    const frame = delta('a', { token_ids: [80] });
    const whole = hostile({ pieces: () => [...Array<string>(500).fill(frame), END] });
    expect(textOf(await ask(whole, { maxTokens: null }))).toHaveLength(500);
    const server = hostile({ pieces: () => flood(frame) });
    await expect(ask(server, { maxTokens: null })).rejects.toMatchObject({ status: 503 });
    expect(server.takenBytes()).toBeLessThan(2_000 * frame.length);
  });

  it('cannot keep a request for ever by signs of life', async () => {
    const clock = createFakeClock();
    function* alive(): Generator<string> {
      for (let minute = 0; minute < 10_000; minute++) {
        clock.advance(60_000);
        yield ': alive\n\n';
      }
    }
    const server = hostile({ pieces: alive }, { clock });
    await expect(ask(server)).rejects.toMatchObject({
      code: 'upstream_unavailable',
      message: expect.stringContaining('said no word for'),
    });
  });

  it('cannot pass on ids that are none', async () => {
    const frame = delta('a', { token_ids: [-7] });
    const server = hostile({ pieces: () => [frame, END] }, { tokenizer: BY_IDS.tokenizer });
    const events = await ask(server);
    expect(textOf(events)).toBe('a');
    expect(events.flatMap((event) => (event.type === 'delta' ? event.tokens : []))).toEqual([]);
  });
});
