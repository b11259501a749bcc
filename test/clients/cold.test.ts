import OpenAI, { APIConnectionError, type APIError } from 'openai';
import { afterEach, describe, expect, it } from 'vitest';
import { startServer } from '../../adapters/node/server.ts';
import { type AppEvent, type AppOptions, createApp } from '../../src/app.ts';
import { ServeError } from '../../src/errors.ts';
import { until } from '../support/app-harness.ts';
import { createLazyHarness, type LazyHarness } from '../support/lazy-harness.ts';
import { type SilenceProxy, startSilenceProxy } from '../support/silence-proxy.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const model = STUB_CARD.id;
const messages = [{ role: 'user' as const, content: 'Hi' }];
/** What stands for the minute after which proxies cut silent connections. */
const SILENCE_MS = 300;
/** What stands for our 15 s. */
const HEARTBEAT_MS = 100;

interface Cold extends Omit<LazyHarness, 'events'> {
  readonly client: OpenAI;
  readonly proxy: SilenceProxy;
  readonly appEvents: AppEvent[];
}

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A cold server, reached through a proxy that cuts what is silent. */
async function cold(options: Partial<AppOptions> = {}): Promise<Cold> {
  const { events: _, ...harness } = createLazyHarness();
  const appEvents: AppEvent[] = [];
  const server = await startServer({
    port: 0,
    drainMs: 0,
    drain: (deadlineMs) => harness.lazy.drain(deadlineMs),
    app: createApp({
      completer: harness.lazy,
      stream: { heartbeatMs: HEARTBEAT_MS },
      cold: { holdMs: HEARTBEAT_MS },
      onEvent: (event) => void appEvents.push(event),
      ...options,
    }),
  });
  const proxy = await startSilenceProxy(server.port, SILENCE_MS);
  closers.push(async () => {
    await harness.lazy.close();
    await proxy.close();
    await server.close();
  });
  const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: 'none' });
  return { ...harness, client, proxy, appEvents };
}

async function read(stream: AsyncIterable<OpenAI.ChatCompletionChunk>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? '';
  return text;
}

describe('the OpenAI client, a proxy that cuts silent connections, and a cold server', () => {
  it('streams through a load that takes far longer than the proxy bears silence', async () => {
    const { client, proxy, finish, loadCount } = await cold();
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    const text = read(stream);
    await until(() => proxy.pieceCount() > (3 * SILENCE_MS) / HEARTBEAT_MS);
    finish();
    expect(await text).toBe('9:0');
    expect([proxy.cutCount(), loadCount()]).toEqual([0, 1]);
  });

  it('would be cut without heartbeats', async () => {
    const { client, proxy } = await cold({ stream: { heartbeatMs: 60_000 } });
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    await expect(read(stream)).rejects.toThrow();
    expect(proxy.cutCount()).toBe(1);
  });

  it('gets 503 for an answer that is no stream, retries by itself, and succeeds', async () => {
    const { client, finish, appEvents } = await cold();
    const answer = client.chat.completions.create({ model, messages });
    await until(() => appEvents.length === 1);
    expect(appEvents[0]).toMatchObject({ status: 503, errorCode: 'model_loading' });
    finish();
    expect((await answer).choices[0]?.message.content).toBe('9:0');
    expect(appEvents).toHaveLength(2);
  });

  it('learns of a load that fails inside its stream', async () => {
    const { client, fail, lazy } = await cold();
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    const text = read(stream);
    await until(() => lazy.state === 'loading');
    fail(new ServeError('out_of_memory', 'needs 20 GB'));
    const error = await text.then(
      () => null,
      (reason: unknown) => reason as APIError,
    );
    expect(error).not.toBeInstanceOf(APIConnectionError);
    expect(error).toMatchObject({ code: 'out_of_memory' });
  });
});
