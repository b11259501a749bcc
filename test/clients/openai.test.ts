import OpenAI, {
  APIConnectionError,
  APIError,
  AuthenticationError,
  BadRequestError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
} from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningServer, startServer } from '../../adapters/node/server.ts';
import { createApp } from '../../src/app.ts';
import type { CompletionRequest } from '../../src/completer.ts';
import { ServeError } from '../../src/errors.ts';
import { createStubCompleter, STUB_CARD, type StubCompleter } from '../support/stub-completer.ts';

/** 1 by 1 pixel. */
const PNG =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const model = STUB_CARD.id;
const messages = [{ role: 'user' as const, content: 'Hi' }];

let server: RunningServer;
let completer: StubCompleter;
let client: OpenAI;
/** Thrown by the next completions, first to last. */
const failures: ServeError[] = [];

beforeAll(async () => {
  completer = createStubCompleter({
    reply: (request, index) =>
      textOf(request).includes('endless') ? 'x'.repeat(100_000) : `Hello ${index}!`,
    failure: () => failures.shift(),
    gate: () => new Promise((resolve) => setImmediate(resolve)),
  });
  server = await startServer({ app: createApp({ completer, apiKeys: ['key'] }), port: 0 });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'key' });
});

afterAll(async () => {
  await server.close();
});

describe('the official OpenAI client', () => {
  it('completes a chat', async () => {
    const { data, request_id } = await client.chat.completions
      .create({ model, messages })
      .withResponse();
    expect(data.choices[0]?.message).toEqual({
      role: 'assistant',
      content: 'Hello 0!',
      refusal: null,
    });
    expect(data.choices[0]?.finish_reason).toBe('stop');
    expect(data.usage?.total_tokens).toBe(18);
    expect(request_id).toMatch(/^req_/);
  });

  it('streams a chat with usage', async () => {
    const stream = await client.chat.completions.create({
      model,
      messages,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let usage: OpenAI.CompletionUsage | null | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe('Hello 0!');
    expect(usage?.completion_tokens).toBe(9);
  });

  it('gathers a stream with its own accumulator, several choices and log probabilities', async () => {
    const runner = client.chat.completions.stream({
      model,
      messages,
      n: 2,
      logprobs: true,
      top_logprobs: 2,
    });
    const final = await runner.finalChatCompletion();
    expect(final.choices.map((choice) => choice.message.content)).toEqual(['Hello 0!', 'Hello 1!']);
    const content = final.choices[1]?.logprobs?.content ?? [];
    expect(content.map(({ token }) => token).join('')).toBe('Hello 1!<end_of_turn>');
    expect(content.every(({ top_logprobs }) => top_logprobs.length === 2)).toBe(true);
  });

  it('sends images as data URIs', async () => {
    const answer = await client.chat.completions.create({
      model,
      messages: [
        { role: 'developer', content: 'Be brief.' },
        {
          role: 'user',
          content: [
            { type: 'text', text: 'What is this?' },
            { type: 'image_url', image_url: { url: PNG, detail: 'high' } },
          ],
        },
      ],
    });
    expect(answer.usage?.prompt_tokens_details).toMatchObject({ image_tokens: 256 });
    expect(completer.requests.at(-1)?.prompt).toMatchObject({
      messages: [
        { role: 'system' },
        {
          role: 'user',
          parts: [{ type: 'text' }, { type: 'image', source: { url: PNG }, panAndScan: true }],
        },
      ],
    });
  });

  it('aborts the completer by breaking out of a stream', async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: [{ role: 'user', content: 'endless' }],
      stream: true,
    });
    const aborted = completer.nextAbort();
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content === 'x') break;
    await aborted;
    expect(completer.activeCount).toBe(0);
  });

  it('aborts the completer by a signal', async () => {
    const controller = new AbortController();
    const aborted = completer.nextAbort();
    const answer = client.chat.completions.create(
      { model, messages: [{ role: 'user', content: 'endless' }] },
      { signal: controller.signal },
    );
    while (completer.activeCount === 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(answer).rejects.toThrow('aborted');
    await aborted;
    expect(completer.activeCount).toBe(0);
  });

  it('completes text of several prompts, with echo and log probabilities', async () => {
    const answer = await client.completions.create({
      model,
      prompt: ['ab', 'c'],
      echo: true,
      logprobs: 1,
      max_tokens: 2,
      temperature: 0,
    });
    expect(answer.choices.map(({ text }) => text)).toEqual(['abHe', 'cHe']);
    expect(answer.choices[0]?.finish_reason).toBe('length');
    expect(answer.choices[0]?.logprobs?.token_logprobs).toHaveLength(5);
  });

  it('streams text', async () => {
    let text = '';
    for await (const chunk of await client.completions.create({
      model,
      prompt: [72],
      stream: true,
    })) {
      text += chunk.choices[0]?.text ?? '';
    }
    expect(text).toBe('Hello 0!');
  });

  it('lists and finds models', async () => {
    const ids: string[] = [];
    for await (const { id } of client.models.list()) ids.push(id);
    expect(ids).toEqual([model]);
    expect((await client.models.retrieve(model)).id).toBe(model);
  });
});

async function failure(call: Promise<unknown>): Promise<APIError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof APIError) return error;
    throw error;
  }
  throw new Error('no failure');
}

describe('errors, as the client classes them', () => {
  it('bad requests name the field and are not retried', async () => {
    const count = completer.requests.length;
    const error = await failure(
      client.chat.completions.create({ model, messages, temperature: 3 }),
    );
    expect(error).toBeInstanceOf(BadRequestError);
    expect(error).toMatchObject({
      status: 400,
      param: 'temperature',
      code: 'invalid_request',
      type: 'invalid_request_error',
    });
    expect(error.requestID).toMatch(/^req_/);
    expect(completer.requests.length).toBe(count);
  });

  it('wrong keys and unknown models have their own classes', async () => {
    const stranger = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'wrong' });
    expect(await failure(stranger.models.list())).toBeInstanceOf(AuthenticationError);
    const missing = await failure(client.chat.completions.create({ model: 'gpt-4o', messages }));
    expect(missing).toBeInstanceOf(NotFoundError);
    expect(missing).toMatchObject({ code: 'model_not_found' });
  });

  it('a full queue is retried after the time we name', async () => {
    failures.push(
      new ServeError('queue_full', 'Busy.', { retryAfterMs: 1 }),
      new ServeError('model_loading', 'Loading.', { retryAfterMs: 1 }),
    );
    const answer = await client.chat.completions.create({ model, messages });
    expect(answer.choices[0]?.message.content).toBe('Hello 0!');
    expect(failures).toEqual([]);
  });

  it('retries end with the class of the last failure', async () => {
    for (let at = 0; at < 3; at++)
      failures.push(new ServeError('queue_full', 'Busy.', { retryAfterMs: 1 }));
    expect(
      await failure(client.chat.completions.create({ model, messages, stream: true })),
    ).toBeInstanceOf(RateLimitError);
    expect(failures).toEqual([]);
  });

  it('what cannot succeed is not retried, although it is a 500', async () => {
    failures.push(
      new ServeError('backend_unavailable', 'No device.'),
      new ServeError('internal', 'never reached'),
    );
    expect(await failure(client.chat.completions.create({ model, messages }))).toBeInstanceOf(
      InternalServerError,
    );
    expect(failures.length).toBe(1);
    failures.length = 0;
  });

  it('a failure inside a stream is an APIError with our message', async () => {
    const broken = createStubCompleter({
      failAfter: { tokens: 2, error: new ServeError('out_of_memory', 'Full.') },
    });
    const other = await startServer({ app: createApp({ completer: broken }), port: 0 });
    try {
      const own = new OpenAI({ baseURL: `${other.url}/v1`, apiKey: 'none' });
      const stream = await own.chat.completions.create({ model, messages, stream: true });
      const reading = (async () => {
        for await (const _ of stream);
      })();
      const error = await failure(reading);
      expect(error).not.toBeInstanceOf(APIConnectionError);
      expect(error).toMatchObject({ code: 'out_of_memory', message: 'Full.' });
    } finally {
      await other.close();
    }
  });
});

function textOf({ prompt }: CompletionRequest): string {
  if (prompt.type !== 'chat') return '';
  return prompt.messages
    .flatMap(({ parts }) => parts)
    .map((part) => (part.type === 'text' ? part.text : ''))
    .join('');
}
