import { describe, expect, it } from 'vitest';
import type { CompletionEvent } from '../../src/completer.ts';
import type { StoreUse } from '../../src/engine/engine.ts';
import { ServeError } from '../../src/errors.ts';
import { createAppHarness, frames, until, untilAborted } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createStubCompleter, STUB_CARD } from '../support/stub-completer.ts';

const messages = [{ role: 'user', content: 'Hi' }];

async function* cutShort(): AsyncGenerator<CompletionEvent> {
  yield {
    type: 'start',
    promptTokens: 1,
    cachedTokens: 0,
    imageTokens: 0,
    store: null,
    prompt: null,
  };
}

async function usageOf(store: StoreUse | null, stream: boolean): Promise<unknown> {
  const { send } = createAppHarness({}, { store: () => store });
  const body = { messages, stream, stream_options: { include_usage: true } };
  const { stream_options: _, ...whole } = body;
  const response = await send('/v1/chat/completions', stream ? body : whole);
  const last = stream ? (await frames(response)).at(-1) : await response.json();
  const { usage } = last as { usage: { prompt_tokens_details: Record<string, unknown> } };
  return usage.prompt_tokens_details;
}

describe('POST /v1/chat/completions', () => {
  it('answers in the shape of OpenAI', async () => {
    const { send } = createAppHarness({ clock: createFakeClock(1_700_000_123_456) });
    const response = await send('/v1/chat/completions', {
      messages,
      logprobs: true,
      top_logprobs: 2,
    });
    expect(response.status).toBe(200);
    const answer = (await response.json()) as Record<string, unknown>;
    expect(answer).toMatchObject({
      id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/),
      object: 'chat.completion',
      created: 1_700_000_123,
      model: STUB_CARD.id,
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: '9:0', refusal: null },
          finish_reason: 'stop',
          stop_reason: null,
        },
      ],
      usage: {
        prompt_tokens: 9,
        completion_tokens: 4,
        total_tokens: 13,
        prompt_tokens_details: { cached_tokens: 7, image_tokens: 0 },
      },
    });
    const [choice] = answer['choices'] as [{ logprobs: { content: Record<string, unknown>[] } }];
    expect(choice.logprobs.content.map(({ token }) => token)).toEqual([
      '9',
      ':',
      '0',
      '<end_of_turn>',
    ]);
    expect(choice.logprobs.content[0]).toMatchObject({
      bytes: [57],
      top_logprobs: [{ token: '9' }, {}],
    });
  });

  it('says what became of what a store held, in the answer and in the last chunk', async () => {
    const details = { cached_tokens: 7, image_tokens: 0, audio_tokens: 0 };
    for (const stream of [false, true]) {
      for (const choice of ['restore', 'recompute'] as const) {
        const kv_store = { choice, tokens: 7 };
        expect(await usageOf(kv_store, stream)).toEqual({ ...details, kv_store });
      }
      expect(await usageOf(null, stream)).toEqual(details);
    }
  });

  it('streams the same text, role first, finish reason last, then the usage', async () => {
    const { send } = createAppHarness({}, { reply: () => 'Grüß 👋' });
    const body = { messages, stream: true, stream_options: { include_usage: true } };
    const chunks = await frames(await send('/v1/chat/completions', body));
    const deltas = chunks.map((chunk) => (chunk['choices'] as Record<string, unknown>[])[0]);
    expect(deltas[0]).toMatchObject({
      delta: { role: 'assistant', content: '' },
      finish_reason: null,
    });
    const text = deltas
      .map((choice) => (choice?.['delta'] as { content?: string })?.content ?? '')
      .join('');
    expect(text).toBe('Grüß 👋');
    expect(deltas.at(-2)).toMatchObject({ delta: {}, finish_reason: 'stop' });
    expect(chunks.at(-1)).toMatchObject({
      choices: [],
      usage: { prompt_tokens: 9, completion_tokens: 12 },
    });
    expect(chunks.slice(0, -1).every((chunk) => chunk['usage'] === null)).toBe(true);
    expect(new Set(chunks.map((chunk) => chunk['id'])).size).toBe(1);
    expect(
      deltas
        .slice(1, -2)
        .every((choice) => (choice?.['delta'] as { content: string } | undefined)?.content !== ''),
    ).toBe(true);
  });

  it('sends no usage unless asked', async () => {
    const { send } = createAppHarness();
    const chunks = await frames(await send('/v1/chat/completions', { messages, stream: true }));
    expect(chunks.some((chunk) => 'usage' in chunk)).toBe(false);
  });

  it('keeps choices apart, streamed or not', async () => {
    const { send } = createAppHarness();
    const whole = (await (await send('/v1/chat/completions', { messages, n: 3 })).json()) as {
      choices: { index: number; message: { content: string } }[];
    };
    expect(whole.choices.map((choice) => [choice.index, choice.message.content])).toEqual([
      [0, '9:0'],
      [1, '9:1'],
      [2, '9:2'],
    ]);
    const texts = ['', '', ''];
    for (const chunk of await frames(
      await send('/v1/chat/completions', { messages, n: 3, stream: true }),
    )) {
      const [choice] = chunk['choices'] as [{ index: number; delta: { content?: string } }];
      texts[choice.index] += choice.delta.content ?? '';
    }
    expect(texts).toEqual(['9:0', '9:1', '9:2']);
  });

  it('reports token ids on request, streamed or not', async () => {
    const { send } = createAppHarness();
    const body = { messages, return_token_ids: true };
    const whole = (await (await send('/v1/chat/completions', body)).json()) as {
      prompt_token_ids: number[];
      choices: { token_ids: number[] }[];
    };
    expect(whole.prompt_token_ids.length).toBe(9);
    expect(whole.choices[0]?.token_ids).toEqual([57, 58, 48, 257]);
    const chunks = await frames(await send('/v1/chat/completions', { ...body, stream: true }));
    expect(chunks[0]?.['prompt_token_ids']).toEqual(whole.prompt_token_ids);
    const ids = chunks.flatMap(
      (chunk) => (chunk['choices'] as { token_ids?: number[] }[])[0]?.token_ids ?? [],
    );
    expect(ids).toEqual([57, 58, 48, 257]);
  });

  it('gives a stream that fails early its own status', async () => {
    const { send, events } = createAppHarness(
      {},
      { failure: () => new ServeError('queue_full', 'Busy.', { retryAfterMs: 2_500 }) },
    );
    const response = await send('/v1/chat/completions', { messages, stream: true });
    expect(response.status).toBe(429);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'retry-after-ms': '2500',
      'retry-after': '3',
      'x-should-retry': 'true',
      'content-type': 'application/json',
    });
    expect(events).toMatchObject([{ status: 429, outcome: 'error', errorCode: 'queue_full' }]);
  });

  it('sends a late failure in-band', async () => {
    const { send, events } = createAppHarness(
      {},
      { failAfter: { tokens: 2, error: new ServeError('out_of_memory', 'Full.') } },
    );
    const response = await send('/v1/chat/completions', { messages, stream: true });
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(
      text.endsWith(
        'data: {"error":{"message":"Full.","type":"server_error","param":null,"code":"out_of_memory"}}\n\n',
      ),
    ).toBe(true);
    expect(events).toMatchObject([{ status: 200, outcome: 'error', errorCode: 'out_of_memory' }]);
  });

  it('answers an unknown failure with 500, a request id and not a word of it', async () => {
    const { send, events } = createAppHarness({}, { failure: () => new Error('SECRET at /srv/x') });
    const response = await send('/v1/chat/completions', { messages });
    expect(response.status).toBe(500);
    expect(response.headers.get('x-should-retry')).toBe('false');
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({
      error: { type: 'server_error', code: 'internal', param: null },
    });
    expect(text).not.toContain('SECRET');
    expect(events).toMatchObject([
      { status: 500, error: expect.objectContaining({ message: 'SECRET at /srv/x' }) },
    ]);
  });

  it('keeps the scope of every API key and every salt to itself', async () => {
    const { send, completer } = createAppHarness({ apiKeys: ['one', 'two'] });
    for (const key of ['one', 'two']) {
      for (const salt of [{}, { cache_salt: 'a' }, { cache_salt: 'b' }]) {
        const init = { headers: { authorization: `Bearer ${key}` } };
        await send('/v1/chat/completions', { messages, ...salt }, init);
      }
    }
    const scopes = completer.requests.map(({ scope }) => scope);
    expect(new Set(scopes).size).toBe(6);
    expect(scopes.join()).not.toMatch(/one|two/);
  });

  it('has one scope for all where there are no keys', async () => {
    const { send, completer } = createAppHarness();
    await send('/v1/chat/completions', { messages });
    await send('/v1/chat/completions', { messages, cache_salt: 'a' });
    expect(completer.requests.map(({ scope }) => scope)).toEqual(['', '\0a']);
  });

  it('refuses to call an answer whole that is not', async () => {
    const completer = createStubCompleter();
    completer.complete = cutShort;
    const { send } = createAppHarness({ completer });
    expect((await send('/v1/chat/completions', { messages })).status).toBe(500);
    const streamed = await send('/v1/chat/completions', { messages, stream: true });
    expect(await streamed.text()).toContain('"code":"internal"');
  });

  it('aborts the completer when the client goes away before the answer', async () => {
    const { send, completer, events } = createAppHarness({}, { gate: untilAborted });
    const controller = new AbortController();
    const aborted = completer.nextAbort();
    const response = send('/v1/chat/completions', { messages }, { signal: controller.signal });
    await until(() => completer.activeCount === 1);
    controller.abort('a reason that is no Error');
    await aborted;
    expect((await response).status).toBe(499);
    expect(events).toMatchObject([{ outcome: 'aborted', status: 499 }]);
  });

  it('aborts the completer when the stream is cancelled', async () => {
    const { send, completer, events } = createAppHarness(
      {},
      { gate: (at, signal) => (at < 2 ? Promise.resolve() : untilAborted(at, signal)) },
    );
    const response = await send('/v1/chat/completions', { messages, stream: true });
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect(completer.activeCount).toBe(0);
    expect(completer.abortedCount).toBe(1);
    expect(events).toMatchObject([{ outcome: 'aborted', status: 200 }]);
  });

  it('starts a slow stream with headers and a comment', async () => {
    const clock = createFakeClock();
    let open: (() => void) | undefined;
    const gate = (at: number): Promise<void> =>
      at === -1
        ? new Promise((resolve) => {
            open = resolve;
          })
        : Promise.resolve();
    const { send, completer } = createAppHarness({ clock }, { gate });
    const pending = send('/v1/chat/completions', { messages, stream: true });
    await until(() => completer.activeCount === 1 && clock.sleeping() === 2);
    clock.advance(2_000);
    const response = await pending;
    expect(response.status).toBe(200);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader?.read())?.value).toBe(': waiting\n\n');
    open?.();
    expect((await reader?.read())?.value).toContain('"role":"assistant"');
    await reader?.cancel();
  });
});
