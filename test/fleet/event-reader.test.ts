import { describe, expect, it } from 'vitest';
import type { GenerateEvent } from '../../src/engine/engine.ts';
import { ServeError } from '../../src/errors.ts';
import { type Asked, createEventReader } from '../../src/fleet/event-reader.ts';
import { encodeEvent, type WireEvent } from '../../src/fleet/wire-events.ts';
import { GREEDY, testPrompt } from '../support/engine-harness.ts';

const PROMPT = testPrompt('four');
const SENT = PROMPT.tokens;

function asked(params: Partial<Asked['params']> = {}, answer?: Int32Array): Asked {
  return {
    prompt: answer === undefined ? PROMPT : { ...PROMPT, answer },
    params: { ...GREEDY, maxTokens: 3, ...params },
    vocabSize: 400,
    contextTokens: 64,
  };
}

const BEGIN = {
  type: 'prefill-end',
  tokens: null,
  promptTokens: 5,
  cachedTokens: 2,
  store: null,
  promptLogprobs: null,
};
const TOKEN = { type: 'token', id: 7, bytes: 'YQ==', logprobs: null };
const FINISH = {
  type: 'finish',
  reason: 'stop',
  bytes: '',
  stopIndex: null,
  stopId: 106,
  promptTokens: 5,
  cachedTokens: 2,
  completionTokens: 3,
  timings: { queueMs: 1, prefillMs: 2, decodeMs: 3 },
};

/** Reads all lines as one answer. */
function readAll(lines: readonly object[], question: Asked = asked()): WireEvent[] {
  const reader = createEventReader(question);
  return lines.map((line) => reader.read(JSON.stringify(line)));
}

describe('events of a replica', () => {
  it('come back as they were', () => {
    const logprobs = { logprob: -1.5, top: [{ id: 3, logprob: Number.NEGATIVE_INFINITY }] };
    const events: GenerateEvent[] = [
      {
        type: 'prefill-end',
        tokens: Int32Array.of(2, 6, 8, 8, 7, 301),
        promptTokens: 6,
        cachedTokens: 2,
        store: { choice: 'restore', tokens: 4 },
        promptLogprobs: [null, logprobs],
      },
      { type: 'token', id: 7, bytes: Uint8Array.of(0xe2, 0x82), logprobs },
      { type: 'token', id: 7, bytes: new Uint8Array(0), logprobs: null },
      {
        type: 'finish',
        reason: 'stop',
        bytes: Uint8Array.of(240, 159),
        stopIndex: null,
        stopId: 106,
        promptTokens: 6,
        cachedTokens: 2,
        completionTokens: 3,
        timings: { queueMs: 1, prefillMs: 2, decodeMs: 3 },
      },
    ];
    const reader = createEventReader(asked({ logprobs: 1, promptLogprobs: 1 }));
    for (const event of events) expect(reader.read(encodeEvent(event, SENT))).toEqual(event);
    const wait: WireEvent = { type: 'wait', state: 'loading', progress: null };
    expect(reader.read(encodeEvent(wait, SENT))).toEqual(wait);
  });

  it('give the prompt back that was sent where it is the same', () => {
    const reader = createEventReader(asked());
    const event = { ...BEGIN, tokens: SENT } as unknown as GenerateEvent;
    expect(reader.read(encodeEvent(event, Int32Array.from(SENT)))).toMatchObject({ tokens: SENT });
  });

  it('end with an error of known code in its own words', () => {
    const error = new ServeError('queue_full', 'Full.', { param: 'x', retryAfterMs: 700 });
    const read = createEventReader(asked()).read(encodeEvent({ type: 'error', error }, SENT));
    expect(read).toMatchObject({
      type: 'error',
      error: { code: 'queue_full', message: 'Full.', param: 'x', retryAfterMs: 700 },
    });
  });

  it.each(['toString', '__proto__', 'code_of_tomorrow', null, 7])(
    'of unknown code %s are told in our words, theirs are for the log',
    (code) => {
      const [event] = readAll([
        { type: 'error', code, message: 'secret path /etc/x', param: null },
      ]);
      if (event?.type !== 'error') throw new Error('no error');
      expect(event.error).toMatchObject({ code: 'upstream_unavailable', status: 503 });
      expect(event.error.message).not.toContain('secret');
      expect(String(event.error.cause)).toContain('secret path');
    },
  );

  it('cut long messages', () => {
    const [event] = readAll([{ type: 'error', code: 'internal', message: 'x'.repeat(1e6) }]);
    expect(event?.type === 'error' && event.error.message.length).toBe(1_000);
  });

  it('may be as many as tokens were asked for, those said elsewhere included', () => {
    expect(readAll([BEGIN, TOKEN, TOKEN, TOKEN, FINISH])).toHaveLength(5);
    expect(() => readAll([BEGIN, TOKEN, TOKEN, TOKEN, TOKEN])).toThrow('token beyond 3');
    const goesOn = asked({}, Int32Array.of(9, 9));
    expect(readAll([TOKEN, FINISH], goesOn)).toHaveLength(2);
    expect(() => readAll([BEGIN, TOKEN, TOKEN], goesOn)).toThrow('token beyond 3');
  });
});

describe('what no replica says', () => {
  const huge = { length: 4e9 };
  const deep = { logprob: -1, top: Array.from({ length: 21 }, () => ({ id: 1, logprob: -1 })) };
  it.each<[string, readonly unknown[]]>([
    ['a list that is none', [{ ...BEGIN, tokens: huge }]],
    ['more tokens than the context', [{ ...BEGIN, tokens: Array.from({ length: 65 }, () => 1) }]],
    ['an id beyond the vocabulary', [{ ...BEGIN, tokens: [400] }]],
    ['a fraction', [{ ...BEGIN, tokens: [1.5] }]],
    ['a negative count', [{ ...BEGIN, cachedTokens: -1 }]],
    ['log probabilities nobody asked for', [{ ...BEGIN, promptLogprobs: huge }]],
    ['a second beginning', [BEGIN, BEGIN]],
    ['a token before the beginning', [TOKEN]],
    ['an end before the beginning', [FINISH]],
    ['a token beyond the vocabulary', [BEGIN, { ...TOKEN, id: 400 }]],
    ['a token that is a text', [BEGIN, { ...TOKEN, id: '7' }]],
    ['bytes that are none', [BEGIN, { ...TOKEN, bytes: huge }]],
    ['too many bytes', [BEGIN, { ...TOKEN, bytes: 'YWFh'.repeat(20_000) }]],
    ['too many alternatives', [BEGIN, { ...TOKEN, logprobs: deep }]],
    ['a reason that is none', [BEGIN, { ...FINISH, reason: 'tired' }]],
    ['more tokens at the end than asked for', [BEGIN, { ...FINISH, completionTokens: 4 }]],
    ['a stop string that was not given', [BEGIN, { ...FINISH, stopIndex: 0 }]],
    ['times that are none', [BEGIN, { ...FINISH, timings: { queueMs: null } }]],
    ['a state that is none', [{ type: 'wait', state: 'constructor', progress: null }]],
    ['progress that is none', [{ type: 'wait', state: 'loading', progress: { loadedBytes: 'x' } }]],
    ['an error without words', [{ type: 'error', code: 'internal' }]],
    ['something else', [{ type: 'joke' }]],
    ['a list', [[]]],
    ['nothing', [null]],
  ])('is refused: %s', (_what, lines) => {
    const question = asked({ logprobs: 20 });
    const reader = createEventReader(question);
    expect(() => {
      for (const line of lines) reader.read(JSON.stringify(line));
    }).toThrow(SyntaxError);
  });

  it('is refused when it is no JSON', () => {
    expect(() => createEventReader(asked()).read('<html>')).toThrow(SyntaxError);
  });

  it('is a line longer than an answer can need', () => {
    expect(createEventReader(asked()).maxLineCharacters).toBe(4 * 2 ** 20);
    const long = { ...asked({ promptLogprobs: 20 }), contextTokens: 131_072 };
    // All of the prompt's log probabilities come in one line.
    expect(createEventReader(long).maxLineCharacters).toBeGreaterThan(200 * 2 ** 20);
  });
});
