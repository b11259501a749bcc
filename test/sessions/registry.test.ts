import { describe, expect, it } from 'vitest';
import { createSessionHarness } from '../support/session-harness.ts';
import { contentOfWords, words } from '../support/session-memory.ts';
import { until } from '../support/app-harness.ts';

const HOUR_MS = 60 * 60_000;
const hello = contentOfWords(words(0, 8));
const more = contentOfWords(words(0, 16));
const other = contentOfWords([0, 1, 2, 3, 70, 71, 72, 73]);

describe('a session', () => {
  it('begins with its first turn and counts the others', async () => {
    const { registry, clock, turn } = createSessionHarness();
    const startMs = clock.now();
    turn('chat', hello);
    clock.advance(5_000);
    turn('chat', more);
    expect(await registry.get('a', 'chat')).toEqual({
      id: 'chat',
      createdMs: startMs,
      usedMs: startMs + 5_000,
      expiresMs: startMs + 5_000 + 24 * HOUR_MS,
      ttlMs: 24 * HOUR_MS,
      turns: 2,
      savedTokens: 4,
      parent: null,
      metadata: {},
      tokens: 16,
      imageCount: 0,
      places: {
        deviceTokens: 0,
        hostTokens: 16,
        hostBytes: 400,
        storeTokens: 16,
        storeBytes: 400,
      },
    });
  });

  it('counts a turn that is recorded again once, with its later content', async () => {
    const { registry, turn } = createSessionHarness();
    turn('chat', hello, 'one');
    turn('chat', other, 'two');
    turn('chat', more, 'one');
    expect(await registry.get('a', 'chat')).toMatchObject({ turns: 2, savedTokens: 4, tokens: 16 });
  });

  it('belongs to its tenant alone', async () => {
    const { registry, turn, ids } = createSessionHarness();
    turn('chat', hello);
    turn('chat', other, undefined, 'b');
    expect(await registry.remove('b', 'chat')).toBe(true);
    expect(await ids('b')).toEqual([]);
    expect(await registry.get('b', 'chat')).toBeNull();
    expect(await registry.put('b', 'chat', { metadata: {} })).toBeNull();
    expect(await registry.fork('b', 'chat', null)).toBeNull();
    expect(await registry.get('a', 'chat')).toMatchObject({ turns: 1 });
  });

  it('takes metadata and a lifetime, which count from now on', async () => {
    const { registry, clock, turn } = createSessionHarness();
    turn('chat', hello);
    clock.advance(HOUR_MS);
    const ttlMs = 2 * HOUR_MS;
    const changed = await registry.put('a', 'chat', { metadata: { name: 'Trip' }, ttlMs });
    expect(changed).toMatchObject({
      metadata: { name: 'Trip' },
      usedMs: clock.now() - HOUR_MS,
      expiresMs: clock.now() + ttlMs,
    });
    clock.advance(HOUR_MS);
    turn('chat', more);
    expect(await registry.get('a', 'chat')).toMatchObject({
      metadata: { name: 'Trip' },
      expiresMs: clock.now() + ttlMs,
    });
    expect(await registry.put('a', 'nobody', {})).toBeNull();
  });

  it('is listed page by page, latest created first', async () => {
    const { registry, clock, turn } = createSessionHarness();
    for (const id of ['one', 'two', 'three']) {
      turn(id, hello);
      clock.advance(1);
    }
    turn('one', more);
    const first = await registry.list('a', { limit: 2, after: null });
    expect(first.sessions.map(({ id }) => id)).toEqual(['three', 'two']);
    expect(first.hasMore).toBe(true);
    const second = await registry.list('a', { limit: 2, after: 'two' });
    expect(second.sessions.map(({ id }) => id)).toEqual(['one']);
    expect(second.hasMore).toBe(false);
    await expect(registry.list('a', { limit: 2, after: 'gone' })).rejects.toMatchObject({
      code: 'invalid_request',
      param: 'after',
    });
  });
});

describe('what a session holds', () => {
  it('is forgotten with it, but for what others share', async () => {
    const { registry, memory, turn } = createSessionHarness();
    turn('chat', hello);
    turn('other', other);
    expect(await registry.remove('a', 'chat')).toBe(true);
    expect(Array.from(memory.pages)).toEqual([':0,1,2,3', ':0,1,2,3,70,71,72,73']);
    expect(await registry.remove('a', 'chat')).toBe(false);
    expect(await registry.remove('a', 'other')).toBe(true);
    expect(memory.pages.size).toBe(0);
  });

  it('stays when only the session it was forked from goes', async () => {
    const { registry, memory, turn } = createSessionHarness();
    turn('chat', hello);
    const fork = await registry.fork('a', 'chat', 'fork');
    expect(fork).toMatchObject({ id: 'fork', parent: 'chat', turns: 1, tokens: 8, savedTokens: 0 });
    await registry.remove('a', 'chat');
    expect(await registry.get('a', 'fork')).toMatchObject({ places: { storeTokens: 8 } });
    await registry.remove('a', 'fork');
    expect(memory.pages.size).toBe(0);
  });

  it('has the side turns too that its latest turn does not go on from, up to a few', async () => {
    const { registry, memory, turn } = createSessionHarness();
    turn('chat', hello);
    turn('chat', other);
    turn('chat', more);
    expect(memory.where(other).hostTokens).toBe(8);
    for (const first of [100, 200, 300]) turn('chat', contentOfWords(words(first, 4)));
    await registry.flush();
    expect(memory.where(more).hostTokens).toBe(16);
    expect(memory.where(other).hostTokens).toBe(4);
    await registry.remove('a', 'chat');
    expect(memory.pages.size).toBe(0);
  });

  it('is not shared with another scope', async () => {
    const { registry, memory, turn } = createSessionHarness();
    turn('chat', hello);
    turn('salted', contentOfWords(words(0, 8), 'salt'));
    await registry.remove('a', 'chat');
    expect(Array.from(memory.pages)).toEqual(['salt:0,1,2,3', 'salt:0,1,2,3,4,5,6,7']);
  });

  it('is still listed when forgetting failed, and a second DELETE does the rest', async () => {
    const { registry, memory, store, turn, ids } = createSessionHarness();
    turn('chat', hello);
    await registry.flush();
    memory.onForget = () => {
      throw new Error('no store');
    };
    await expect(registry.remove('a', 'chat')).rejects.toMatchObject({
      code: 'weights_unavailable',
      message: expect.not.stringContaining('no store'),
    });
    expect(await ids()).toEqual(['chat']);
    expect(store.objects.size).toBe(1);
    memory.onForget = () => undefined;
    expect(await registry.remove('a', 'chat')).toBe(true);
    expect([memory.pages.size, store.objects.size]).toEqual([0, 0]);
  });
});

describe('a fork', () => {
  it('draws an id, and takes none that is taken', async () => {
    const { registry, turn } = createSessionHarness();
    turn('chat', hello);
    expect(await registry.fork('a', 'chat', null)).toMatchObject({
      id: expect.stringMatching(/^sess_[0-9a-f]{32}$/),
    });
    await expect(registry.fork('a', 'chat', 'chat')).rejects.toMatchObject({ param: 'id' });
    expect(await registry.fork('a', 'nobody', null)).toBeNull();
  });
});

describe('expiry', () => {
  it('hides a session at once and forgets it without being asked', async () => {
    const { registry, memory, store, clock, events, turn, ids } = createSessionHarness({
      ttlMs: HOUR_MS,
    });
    turn('chat', hello);
    await registry.flush();
    clock.advance(HOUR_MS);
    await until(() => events.length > 0);
    expect([memory.pages.size, store.objects.size]).toEqual([0, 0]);
    expect(events).toEqual([{ type: 'session-dropped', reason: 'expired' }]);
    expect(await ids()).toEqual([]);
    // Nothing is left to look for.
    clock.advance(60_000);
    await until(() => clock.sleeping() === 0);
  });

  it('is tried again where it failed, and a new session of that id forgets the old one', async () => {
    const { registry, memory, clock, events, turn, ids } = createSessionHarness({ ttlMs: HOUR_MS });
    turn('chat', hello);
    turn('other', other);
    await registry.flush();
    memory.onForget = () => {
      throw new Error('no store');
    };
    clock.advance(HOUR_MS);
    expect(await ids()).toEqual([]);
    expect(events.map(({ type }) => type)).toEqual(['session-drop-failed', 'session-drop-failed']);
    const fresh = contentOfWords(words(500, 4));
    turn('chat', fresh);
    expect(await registry.get('a', 'chat')).toMatchObject({ turns: 1, tokens: 4 });
    memory.onForget = () => undefined;
    clock.advance(60_000);
    expect(await ids()).toEqual(['chat']);
    await registry.remove('a', 'chat');
    expect(memory.pages.size).toBe(0);
  });
});

describe('a quota', () => {
  it('of sessions drops the least recently used', async () => {
    const { memory, clock, events, turn, ids } = createSessionHarness({ quotaCount: 2 });
    for (const [index, id] of ['one', 'two', 'one', 'three'].entries()) {
      turn(id, contentOfWords(words(id === 'one' ? 100 : index * 10, 4)));
      clock.advance(1);
    }
    turn('theirs', hello, undefined, 'b');
    expect(await ids()).toEqual(['three', 'one']);
    expect(await ids('b')).toEqual(['theirs']);
    expect(events).toEqual([{ type: 'session-dropped', reason: 'quota' }]);
    expect(memory.where(contentOfWords(words(10, 4))).hostTokens).toBe(0);
  });

  it('of bytes never drops the session that was used', async () => {
    const { clock, turn, ids } = createSessionHarness({ quotaBytes: 1_000 });
    for (const id of ['one', 'two', 'three']) {
      turn(id, contentOfWords(words(id.length * 100, 8)));
      clock.advance(1);
    }
    // 400 bytes each.
    expect(await ids()).toEqual(['three', 'two']);
    turn('large', contentOfWords(words(9_000, 40)));
    expect(await ids()).toEqual(['large']);
  });
});
