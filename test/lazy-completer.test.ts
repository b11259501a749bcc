import { describe, expect, it } from 'vitest';
import { ServeError } from '../src/errors.ts';
import { collect, request, textOf } from './support/completions.ts';
import { createLazyHarness, settle } from './support/lazy-harness.ts';
import { STUB_CARD } from './support/stub-completer.ts';
import { rejectedBy, thrownBy } from './support/thrown-by.ts';
import { untilAborted } from './support/app-harness.ts';

const aborted = (): AbortSignal => AbortSignal.abort(new Error('gone'));

describe('loading', () => {
  it('waits for the first request, and then happens once for all that come', async () => {
    const { lazy, finish, loadCount, events, stubs } = createLazyHarness();
    await settle();
    expect([lazy.state, loadCount(), lazy.progress()]).toEqual(['idle', 0, null]);
    const asked = [1, 2, 3].map(() => collect(lazy.complete(request())));
    await settle();
    expect([lazy.state, loadCount()]).toEqual(['loading', 1]);
    finish();
    const texts = (await Promise.all(asked)).map((answer) => textOf(answer));
    expect(texts).toEqual(['6:0', '6:0', '6:0']);
    expect([lazy.state, loadCount(), stubs[0]?.requests.length]).toEqual(['ready', 1, 3]);
    expect(events).toEqual(['load-begin', 'load-end']);
  });

  it('is not needed to describe the model, which happens once as well', async () => {
    const { lazy, describeCount, loadCount } = createLazyHarness();
    expect(thrownBy(() => lazy.model)).toMatchObject({ code: 'model_loading' });
    expect(await Promise.all([lazy.describe(), lazy.describe()])).toEqual([STUB_CARD, STUB_CARD]);
    expect(lazy.model).toEqual(STUB_CARD);
    await lazy.describe();
    expect([describeCount(), loadCount(), lazy.state]).toEqual([1, 0, 'idle']);
  });

  it('gives the card of what was loaded, but the time of the first description', async () => {
    const described = { ...STUB_CARD, createdSeconds: 7, vocabSize: 300 };
    const { lazy, finish } = createLazyHarness({ describe: async () => described });
    await lazy.describe();
    const ready = lazy.ready();
    await settle();
    finish();
    await ready;
    expect(lazy.model).toEqual({ ...STUB_CARD, createdSeconds: 7 });
  });

  it('fails for those who wait, with the cause; the next request tries again', async () => {
    const { lazy, fail, finish, events, loadCount } = createLazyHarness();
    const cause = new ServeError('weights_unavailable', 'file:/srv/secret is gone');
    const asked = [rejectedBy(lazy.ready()), rejectedBy(collect(lazy.complete(request())))];
    await settle();
    fail(cause);
    for (const error of await Promise.all(asked)) {
      expect(error).toMatchObject({ code: 'weights_unavailable', cause });
      expect(error.message).not.toContain('secret');
    }
    expect([lazy.state, lazy.progress()]).toEqual(['idle', null]);
    const again = lazy.ready();
    await settle();
    finish();
    await again;
    expect(events).toEqual(['load-begin', 'load-failed', 'load-begin', 'load-end']);
    expect(loadCount()).toBe(2);
  });

  it('describes again after a description that failed', async () => {
    const failures = [new Error('no network')];
    const { lazy } = createLazyHarness({
      describe: async () => {
        const failure = failures.shift();
        if (failure !== undefined) throw failure;
        return STUB_CARD;
      },
    });
    expect(await rejectedBy(lazy.describe())).toMatchObject({ code: 'internal' });
    expect(await lazy.describe()).toEqual(STUB_CARD);
  });

  it('goes on when a client leaves, even the only one', async () => {
    const { lazy, finish } = createLazyHarness();
    await expect(lazy.ready(aborted())).rejects.toThrow('gone');
    expect(lazy.state).toBe('idle');
    const leaving = new AbortController();
    const left = collect(lazy.complete(request(), leaving.signal));
    await settle();
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    expect(lazy.state).toBe('loading');
    finish();
    await settle();
    expect(lazy.state).toBe('ready');
  });

  it('happens for tokens and text too', async () => {
    const { lazy, finish } = createLazyHarness();
    const ids = lazy.tokenize({ type: 'text', text: 'Hi', addBos: true });
    await settle();
    finish();
    expect(await ids).toEqual([256, 72, 105]);
    expect(await lazy.detokenize([72, 105])).toBe('Hi');
  });

  it('shows how far it is', async () => {
    const { lazy, clock, progress, finish } = createLazyHarness();
    const ready = lazy.ready();
    expect(lazy.progress()).toMatchObject({ phase: 'describing', startedMs: clock.now() });
    await settle();
    progress(0, 1_000);
    clock.advance(1_000);
    progress(250, 1_000);
    expect(lazy.progress()).toMatchObject({ phase: 'downloading', etaMs: 3_000 });
    progress(1_000, 1_000);
    finish();
    await ready;
    expect(lazy.progress()).toMatchObject({ phase: 'ready', loadedBytes: 1_000 });
  });
});

describe('idle unloading', () => {
  const idleUnloadMs = 60_000;

  it('frees the model after a time without requests; the next one loads it again', async () => {
    const { lazy, clock, finish, stubs, events } = createLazyHarness({ idleUnloadMs });
    for (let round = 0; round < 2; round++) {
      const asked = collect(lazy.complete(request()));
      await settle();
      finish();
      expect(textOf(await asked)).toBe('6:0');
      clock.advance(idleUnloadMs - 1);
      await settle();
      expect(lazy.state).toBe('ready');
      clock.advance(1);
      await settle();
      expect([lazy.state, stubs[round]?.state, clock.sleeping()]).toEqual(['idle', 'closed', 0]);
    }
    expect(lazy.model).toEqual(STUB_CARD);
    expect(events.filter((type) => type === 'unload')).toHaveLength(2);
  });

  it('never happens while a request runs, and begins anew with each', async () => {
    const { lazy, clock, finish, stubs } = createLazyHarness({
      idleUnloadMs,
      stub: { gate: (at, signal) => (at < 0 ? Promise.resolve() : untilAborted(at, signal)) },
    });
    const leaving = new AbortController();
    const running = lazy.complete(request(), leaving.signal)[Symbol.asyncIterator]();
    const first = running.next();
    await settle();
    finish();
    await first;
    clock.advance(10 * idleUnloadMs);
    await settle();
    expect([lazy.state, clock.sleeping()]).toEqual(['ready', 0]);
    await running.return?.();
    clock.advance(idleUnloadMs - 1);
    await lazy.tokenize({ type: 'text', text: 'a', addBos: false });
    clock.advance(idleUnloadMs - 1);
    await settle();
    expect(stubs[0]?.state).toBe('ready');
    clock.advance(1);
    await settle();
    expect(stubs[0]?.state).toBe('closed');
  });

  it('also follows a load that nobody waited for', async () => {
    const { lazy, clock, finish } = createLazyHarness({ idleUnloadMs });
    const leaving = new AbortController();
    const left = lazy.ready(leaving.signal);
    await settle();
    leaving.abort(new Error('left'));
    await expect(left).rejects.toThrow('left');
    finish();
    await settle();
    expect(lazy.state).toBe('ready');
    clock.advance(idleUnloadMs);
    await settle();
    expect(lazy.state).toBe('idle');
  });

  it('is over before the next load begins, so that two models never share the memory', async () => {
    const { lazy, clock, finish, stubs, loadCount } = createLazyHarness({ idleUnloadMs });
    const ready = lazy.ready();
    await settle();
    finish();
    await ready;
    const [stub] = stubs;
    let freed: (() => void) | undefined;
    if (stub !== undefined) {
      stub.close = () =>
        new Promise((resolve) => {
          freed = resolve;
        });
    }
    clock.advance(idleUnloadMs);
    await settle();
    const again = lazy.ready();
    await settle();
    expect([lazy.state, loadCount()]).toEqual(['loading', 1]);
    freed?.();
    await settle();
    expect(loadCount()).toBe(2);
    finish();
    await again;
  });
});

describe('the end', () => {
  it('of a loaded model is its own: what runs may finish, what comes is refused', async () => {
    let open: (() => void) | undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { lazy, finish, stubs, clock } = createLazyHarness({ stub: { gate: () => opened } });
    const asked = collect(lazy.complete(request()));
    await settle();
    finish();
    await settle();
    const drained = lazy.drain(8_000);
    expect(lazy.state).toBe('draining');
    expect(await rejectedBy(collect(lazy.complete(request())))).toMatchObject({ code: 'draining' });
    open?.();
    expect(textOf(await asked)).toBe('6:0');
    await drained;
    expect(clock.sleeping()).toBe(0);
    await lazy.close();
    expect([lazy.state, stubs[0]?.state]).toEqual(['closed', 'closed']);
  });

  it('lets those who wait for the load have their answer until the deadline', async () => {
    const { lazy, finish, clock } = createLazyHarness();
    const asked = collect(lazy.complete(request()));
    await settle();
    const drained = lazy.drain(8_000);
    clock.advance(7_999);
    finish();
    expect(textOf(await asked)).toBe('6:0');
    await drained;
    await lazy.close();
  });

  it('gives up the load at the deadline', async () => {
    const { lazy, clock, loadCount } = createLazyHarness();
    const asked = rejectedBy(collect(lazy.complete(request())));
    await settle();
    const drained = lazy.drain(8_000);
    clock.advance(8_000);
    await drained;
    expect(await asked).toMatchObject({ code: 'draining' });
    await lazy.close();
    expect([lazy.state, loadCount()]).toEqual(['closed', 1]);
  });

  it('by close stops a load, and frees what came too late', async () => {
    const first = createLazyHarness();
    const asked = rejectedBy(first.lazy.ready());
    await settle();
    await Promise.all([first.lazy.close(), first.lazy.close()]);
    expect(await asked).toMatchObject({ code: 'draining' });
    expect(first.events).toEqual(['load-begin']);

    const second = createLazyHarness();
    const late = rejectedBy(second.lazy.ready());
    await settle();
    second.finish();
    await second.lazy.close();
    expect(second.stubs[0]?.state).toBe('closed');
    expect(await late).toMatchObject({ code: 'draining' });
  });

  it('refuses everything afterwards', async () => {
    const { lazy } = createLazyHarness();
    await lazy.close();
    for (const asked of [lazy.describe(), lazy.ready(), collect(lazy.complete(request()))]) {
      expect(await rejectedBy(asked)).toMatchObject({ code: 'draining' });
    }
    expect(thrownBy(() => lazy.model)).toMatchObject({ code: 'draining' });
    await lazy.drain(1_000);
    expect(lazy.state).toBe('closed');
  });
});
