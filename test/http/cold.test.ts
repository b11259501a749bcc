import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import {
  type AppHarness,
  createAppHarness,
  frames,
  until,
  untilAborted,
} from '../support/app-harness.ts';
import {
  createLazyHarness,
  type LazyHarness,
  type LazyHarnessOptions,
  settle,
} from '../support/lazy-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { STUB_CARD } from '../support/stub-completer.ts';
import type { Completer } from '../../src/completer.ts';
import type { AppOptions } from '../../src/app.ts';

const messages = [{ role: 'user', content: 'Hi' }];
const CHAT = '/v1/chat/completions';

interface Cold extends Omit<LazyHarness, 'events'> {
  readonly send: AppHarness['send'];
  readonly appEvents: AppHarness['events'];
}

function cold(options: Partial<AppOptions> = {}, lazyOptions: LazyHarnessOptions = {}): Cold {
  const harness = createLazyHarness(lazyOptions);
  const { send, events } = createAppHarness({
    completer: harness.lazy,
    clock: harness.clock,
    ...options,
  });
  return { ...harness, send, appEvents: events };
}

describe('probes', () => {
  const paths = ['/health/startup', '/health/ready', '/health/live', '/ping'];

  it('take an idle server for ready, a loading one for alive, and say how far it is', async () => {
    const { send, lazy, finish, progress, clock } = cold({ pingPath: '/ping' });
    const probe = async (): Promise<number[]> =>
      Promise.all(paths.map(async (path) => (await send(path)).status));
    expect(await probe()).toEqual([200, 200, 200, 200]);
    const ready = lazy.ready();
    await settle();
    expect(await probe()).toEqual([503, 503, 200, 204]);
    progress(0, 4_000);
    clock.advance(1_000);
    progress(1_000, 4_000);
    expect(await (await send('/health/startup')).json()).toEqual({
      status: 'unavailable',
      state: 'loading',
      progress: {
        phase: 'downloading',
        loaded_bytes: 1_000,
        total_bytes: 4_000,
        bytes_per_second: 1_000,
        eta_ms: 3_000,
      },
    });
    finish();
    await ready;
    expect(await probe()).toEqual([200, 200, 200, 200]);
    expect(await (await send('/health/ready')).json()).toEqual({ status: 'ok', state: 'ready' });
    await lazy.drain(0);
    expect(await probe()).toEqual([200, 503, 200, 503]);
    await lazy.close();
    expect(await probe()).toEqual([200, 503, 503, 503]);
  });

  it('by ping need no key, and answer as readiness does unless asked otherwise', async () => {
    const { send } = cold({ pingPath: '/ping', apiKeys: ['key'] });
    const response = await send('/ping');
    expect([response.status, await response.text()]).toEqual([200, '']);
    expect((await send('/pings')).status).toBe(401);
    const plain = cold({ apiKeys: ['key'] });
    for (const path of ['/ping', '/health', '/v1/health']) {
      expect(await (await plain.send(path)).json()).toEqual({ status: 'ok', state: 'idle' });
    }
    const own = cold({ pingPath: '/health' });
    expect(await (await own.send('/health')).text()).toBe('');
    await own.lazy.drain(0);
    for (const path of ['/ping', '/health', '/v1/health']) {
      expect((await own.send(path)).status).toBe(503);
    }
  });

  it.each(['ping', '/', '/a b', '/:id', '/*', '/v1/models', '/v1/ping', '/metrics', '/tokenize'])(
    'by ping cannot have the path %s',
    (pingPath) => {
      expect(() => cold({ pingPath })).toThrow(RangeError);
    },
  );
});

describe('a cold server', () => {
  it('describes its model and refuses bad requests without loading anything', async () => {
    const { send, loadCount } = cold();
    expect(await (await send('/v1/models')).json()).toMatchObject({ data: [{ id: STUB_CARD.id }] });
    expect((await send('/openapi.json')).status).toBe(200);
    expect((await send(CHAT, { messages, temperature: 3 })).status).toBe(400);
    expect((await send(CHAT, { messages, model: 'other', stream: true })).status).toBe(404);
    expect((await send('/metrics')).status).toBe(200);
    expect(loadCount()).toBe(0);
  });

  it('says 503 when the description takes too long, to streams as well', async () => {
    const { send, clock, appEvents } = cold({}, { describe: () => new Promise(() => undefined) });
    for (const stream of [false, true]) {
      const pending = send(CHAT, { messages, stream });
      await until(() => clock.sleeping() === 1);
      clock.advance(30_000);
      const response = await pending;
      expect(response.status).toBe(503);
      expect(response.headers.get('retry-after-ms')).toBe('30000');
    }
    expect(appEvents[0]).toMatchObject({ model: '', errorCode: 'model_loading' });
    expect(clock.sleeping()).toBe(0);
  });

  it('loads at the first request and holds it until it can be answered', async () => {
    const { send, finish, loadCount, clock } = cold();
    const pending = [
      send(CHAT, { messages }),
      send('/v1/completions', { prompt: [72, 105], echo: true }),
      send('/tokenize', { prompt: 'Hi' }),
      send('/detokenize', { tokens: [72, 105] }),
    ];
    await until(() => clock.sleeping() === 6);
    clock.advance(29_999);
    finish();
    const answers = await Promise.all(pending.map(async (sent) => (await sent).json()));
    expect(answers).toMatchObject([
      { choices: [{ message: { content: '9:0' } }] },
      { choices: [{ text: 'Hi2:0' }] },
      { count: 3 },
      { prompt: 'Hi' },
    ]);
    expect([loadCount(), clock.sleeping()]).toEqual([1, 0]);
  });

  it('gives up holding after a while with the time that is left, and goes on loading', async () => {
    const { send, progress, finish, clock, lazy } = cold({ cold: { holdMs: 5_000 } });
    const retryAfter = async (loaded: number, total: number): Promise<unknown> => {
      const pending = send(CHAT, { messages });
      await until(() => clock.sleeping() === 2);
      progress(0, total);
      clock.advance(4_000);
      progress(loaded, total);
      clock.advance(1_000);
      const response = await pending;
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({ error: { code: 'model_loading' } });
      expect(response.headers.get('x-should-retry')).toBe('true');
      return [response.headers.get('retry-after-ms'), response.headers.get('retry-after')];
    };
    expect(await retryAfter(4_000, 16_000)).toEqual(['12000', '12']);
    expect(await retryAfter(5_000, 5_010)).toEqual(['1000', '1']);
    expect(await retryAfter(6_000, 1e9)).toEqual(['60000', '60']);
    expect(lazy.state).toBe('loading');
    finish();
    await settle();
    expect((await send(CHAT, { messages })).status).toBe(200);
  });

  it('tells the rest of the time that the load took before, and nothing of it once that is over', async () => {
    const { send, progress, finish, clock, lazy } = cold(
      { cold: { holdMs: 5_000 } },
      { idleUnloadMs: 1_000 },
    );
    const first = lazy.ready();
    await settle();
    clock.advance(20_000);
    finish();
    await first;
    clock.advance(1_000);
    await until(() => lazy.state === 'idle');
    const retryAfter = async (): Promise<string | null> => {
      const pending = send(CHAT, { messages });
      await until(() => clock.sleeping() === 2);
      clock.advance(5_000);
      return (await pending).headers.get('retry-after-ms');
    };
    expect(await retryAfter()).toBe('15000');
    progress(0, 1_000);
    clock.advance(10_000);
    progress(100, 1_000);
    // Of 20 s there is no more left: it takes longer this time, 90 s by the rate.
    expect(await retryAfter()).toBe('60000');
  });

  it('lets a client leave while it is held', async () => {
    const { send, lazy, clock, appEvents } = cold();
    const leaving = new AbortController();
    const pending = send(CHAT, { messages }, { signal: leaving.signal });
    await until(() => lazy.state === 'loading');
    leaving.abort(new Error('left'));
    expect((await pending).status).toBe(499);
    expect([lazy.state, clock.sleeping()]).toEqual(['loading', 0]);
    expect(appEvents).toMatchObject([{ outcome: 'aborted' }]);
  });

  it('gives a failed load its own status', async () => {
    const { send, fail, lazy } = cold();
    const pending = send(CHAT, { messages });
    await until(() => lazy.state === 'loading');
    await settle();
    fail(new ServeError('weights_unavailable', 'file:/srv/secret is gone'));
    const response = await pending;
    expect(response.status).toBe(503);
    const text = await response.text();
    expect(text).toContain('weights_unavailable');
    expect(text).not.toContain('secret');
  });
});

describe('a stream from a cold server', () => {
  it('begins at once, says how far the load is, and then streams', async () => {
    const { send, progress, finish, clock, loadCount } = cold();
    const response = await send(CHAT, { messages, stream: true });
    expect([response.status, loadCount()]).toEqual([200, 1]);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    const read = async (): Promise<string | undefined> => (await reader?.read())?.value;
    expect(await read()).toBe(': loading\n\n');
    for (const [loaded, line] of [
      [250, ': loading 25% eta 45s\n\n'],
      [500, ': loading 50% eta 30s\n\n'],
    ] as const) {
      if (loaded === 250) progress(0, 1_000);
      const beat = read();
      await until(() => clock.sleeping() === 2);
      clock.advance(14_999);
      progress(loaded, 1_000);
      clock.advance(1);
      expect(await beat).toBe(line);
    }
    finish();
    expect(await read()).toContain('"role":"assistant"');
    await reader?.cancel();
    await settle();
    expect(clock.sleeping()).toBe(0);
  });

  it('is complete to those who read it as usual', async () => {
    const { send, finish } = cold();
    const response = await send('/v1/completions', { prompt: [72], echo: false, stream: true });
    const chunks = frames(response);
    await settle();
    finish();
    const text = (await chunks).map((chunk) => (chunk['choices'] as { text: string }[])[0]?.text);
    expect(text.join('')).toBe('1:0');
  });

  it('gets a failed load in-band', async () => {
    const { send, fail, appEvents } = cold();
    const response = await send(CHAT, { messages, stream: true });
    await settle();
    fail(new ServeError('out_of_memory', 'needs 20 GB'));
    const text = await response.text();
    expect(text).toMatch(/^: .*\n\ndata: \{"error":\{.*"code":"out_of_memory"\}\}\n\n$/);
    expect(appEvents).toMatchObject([{ status: 200, errorCode: 'out_of_memory' }]);
  });

  it('may be left while it waits; the load goes on', async () => {
    const { send, lazy, clock } = cold();
    const response = await send(CHAT, { messages, stream: true });
    await settle();
    await response.body?.cancel();
    await settle();
    expect([lazy.state, clock.sleeping()]).toEqual(['loading', 0]);
  });
});

describe('a model that is gone although it seemed to be there', () => {
  it.each([false, true])(
    'is waited for as long as the hold allows; once answering: %s',
    async (hasBegun) => {
      const clock = createFakeClock();
      let state: Completer['state'] = 'ready';
      const { send, completer } = createAppHarness(
        { clock },
        {
          gate: (at, signal) => (hasBegun && at < 0 ? Promise.resolve() : untilAborted(at, signal)),
        },
      );
      Object.defineProperty(completer, 'state', { get: () => state });
      Object.assign(completer, { ready: () => new Promise(() => undefined) });
      const leaving = new AbortController();
      const answer = send(CHAT, { messages }, { signal: leaving.signal });
      await until(() => completer.activeCount === 1);
      await settle();
      state = 'idle';
      clock.advance(30_000);
      await settle();
      expect(completer.activeCount).toBe(hasBegun ? 1 : 0);
      leaving.abort();
      expect((await answer).status).toBe(hasBegun ? 499 : 503);
    },
  );
});
