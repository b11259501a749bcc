import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { createKeyedHash } from '../../src/lib/keyed-hash.ts';
import { parseSession } from '../../src/sessions/session-json.ts';
import { until } from '../support/app-harness.ts';
import { settle } from '../support/lazy-harness.ts';
import { createSessionHarness } from '../support/session-harness.ts';
import { contentOfWords, words } from '../support/session-memory.ts';

const content = {
  scope: 'a\0salt',
  words: Int32Array.from([1, -2, 0x7fff_ffff, -0x8000_0000, 5, 6, 7, 8]),
  images: [{ position: 1, sha256: 'ab'.repeat(32) }],
};
const hello = contentOfWords(words(0, 8));

interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

function gate(): Gate {
  const opening = new AbortController();
  const opened = new Promise<void>((resolve) => {
    opening.signal.addEventListener('abort', () => resolve());
  });
  return { opened, open: () => opening.abort() };
}

describe('a restart', () => {
  it('finds every session as it was', async () => {
    const first = createSessionHarness();
    first.turn('chat', content);
    first.clock.advance(10);
    first.turn('other', hello);
    await first.registry.put('a', 'chat', { metadata: { name: 'Trip' }, ttlMs: 5_000_000 });
    await first.registry.fork('a', 'chat', 'fork');
    const before = await first.registry.list('a', { limit: 10, after: null });
    await first.registry.close();
    const second = first.restart();
    expect(await second.registry.list('a', { limit: 10, after: null })).toEqual(before);
    expect(second.events).toEqual([]);
    // It goes on from there, and deletes all of it.
    second.turn('chat', hello);
    expect(await second.registry.get('a', 'chat')).toMatchObject({
      turns: 2,
      metadata: { name: 'Trip' },
    });
    for (const id of ['chat', 'other', 'fork']) await second.registry.remove('a', id);
    expect([second.memory.pages.size, second.store.objects.size]).toEqual([0, 0]);
    expect(await second.restart().ids()).toEqual([]);
  });

  it('with a key finds what was written with it, which names no tenant and cannot be changed', async () => {
    const keyedHash = createKeyedHash('a key of 20 letters!', 'sessions');
    const first = createSessionHarness({ keyedHash });
    first.turn('chat', content);
    first.turn('other', { ...hello, scope: 'a' });
    const before = await first.registry.list('a', { limit: 10, after: null });
    await first.registry.close();
    expect(await first.restart().registry.list('a', { limit: 10, after: null })).toEqual(before);

    const plain = createSessionHarness();
    plain.turn('chat', content);
    await plain.registry.close();
    const [plainKey = ''] = plain.store.objects.keys();
    const { objects } = first.store;
    for (const [key, bytes] of objects) {
      expect(key.split('/')[1]).not.toBe(plainKey.split('/')[1]);
      const { body } = JSON.parse(new TextDecoder().decode(bytes)) as { readonly body: string };
      expect(JSON.parse(body)).toMatchObject({ tenant: '' });
      expect(body).not.toContain('"a\\u0000salt"');
    }

    // One under the name of another, and one changed in place.
    const [[one, bytes] = ['', new Uint8Array()], [two] = ['']] = [...objects];
    objects.set(two, bytes);
    objects.set(
      one,
      new TextEncoder().encode(new TextDecoder().decode(bytes).replace('turns', 'turnz')),
    );
    const third = first.restart();
    expect(await third.ids()).toEqual([]);
    expect(third.events.map(({ type }) => type)).toEqual(['session-damaged', 'session-damaged']);
  });

  it('finds nobody else behind a name, and no names in the keys', async () => {
    const first = createSessionHarness();
    first.turn('my chat/../x', hello, undefined, 'tenant');
    await first.registry.flush();
    const [key] = Array.from(first.store.objects.keys());
    expect(key).toMatch(/^sessions\/[0-9a-f]{64}\/[0-9a-f]{64}\.json$/);
    expect(await first.restart().ids('other')).toEqual([]);
    expect(await first.restart().ids('tenant')).toEqual(['my chat/../x']);
  });

  it('drops what expired meanwhile, and holds the quota over what it found', async () => {
    const first = createSessionHarness({ quotaCount: 2 });
    first.turn('old', contentOfWords(words(100, 4)));
    await first.registry.put('a', 'old', { ttlMs: 1_000 });
    first.clock.advance(500);
    first.turn('chat', hello);
    await first.registry.close();
    first.clock.advance(500);
    const second = first.restart();
    second.turn('two', hello);
    second.clock.advance(1);
    second.turn('three', hello);
    expect(await second.ids()).toEqual(['three', 'two']);
    expect(second.store.objects.size).toBe(2);
  });

  it('ignores damaged files and says so', async () => {
    const first = createSessionHarness();
    for (const id of ['cut', 'moved', 'odd', 'well']) first.turn(id, content);
    await first.registry.flush();
    const { objects } = first.store;
    const [cut = '', moved = '', odd = ''] = Array.from(objects.keys());
    const bytesOf = (key: string): Uint8Array => objects.get(key) ?? new Uint8Array(0);
    objects.set(odd, new TextEncoder().encode('{"version":1}'));
    objects.set(moved, bytesOf(cut));
    objects.set(cut, bytesOf(cut).subarray(0, 40));
    const second = first.restart();
    expect(await second.ids()).toEqual(['well']);
    expect(second.events.map((event) => event.type === 'session-damaged' && event.key)).toEqual(
      expect.arrayContaining([cut, moved, odd]),
    );
    // A new turn mends its file.
    second.turn('cut', hello);
    await second.registry.flush();
    expect(await second.restart().ids()).toEqual(['cut', 'well']);
  });
});

describe('a store that fails', () => {
  it('gets what it lost again later', async () => {
    const { registry, store, clock, events, turn, restart } = createSessionHarness();
    store.onWrite = () => {
      throw new ServeError('weights_unavailable', 'lost');
    };
    turn('chat', hello);
    expect(await registry.get('a', 'chat')).toMatchObject({ turns: 1 });
    await until(() => events.length > 0 && clock.sleeping() === 2);
    expect(events).toMatchObject([{ type: 'session-write-failed', error: { message: 'lost' } }]);
    store.onWrite = () => undefined;
    clock.advance(1_000);
    await registry.flush();
    expect(await restart().ids()).toEqual(['chat']);
  });

  it('is tried once more at the end', async () => {
    const { registry, store, turn, restart } = createSessionHarness();
    let failures = 1;
    store.onWrite = () => {
      if (failures-- > 0) throw new ServeError('weights_unavailable', 'lost');
    };
    turn('chat', hello);
    await registry.get('a', 'chat');
    await registry.close();
    expect(await restart().ids()).toEqual(['chat']);
    await expect(registry.get('a', 'chat')).rejects.toMatchObject({ code: 'draining' });
  });

  it('delays turns until old sessions are read, and loses none', async () => {
    const first = createSessionHarness();
    first.turn('chat', hello);
    await first.registry.close();
    const second = first.restart();
    const failed = new ServeError('weights_unavailable', 'away');
    second.store.onRead = () => {
      throw failed;
    };
    second.turn('chat', hello);
    await expect(second.registry.get('a', 'chat')).rejects.toMatchObject({
      code: 'weights_unavailable',
      cause: failed,
    });
    expect(second.events).toEqual([{ type: 'session-load-failed', error: failed }]);
    second.store.onRead = () => undefined;
    expect(await second.registry.get('a', 'chat')).toMatchObject({ turns: 2 });
  });

  it('keeps a session whose file cannot be removed', async () => {
    const { registry, store, turn, ids, restart } = createSessionHarness();
    turn('chat', hello);
    await registry.flush();
    const remove = store.remove.bind(store);
    store.remove = () => Promise.reject(new ServeError('weights_unavailable', 'away'));
    await expect(registry.remove('a', 'chat')).rejects.toMatchObject({
      code: 'weights_unavailable',
    });
    expect(await ids()).toEqual(['chat']);
    store.remove = remove;
    expect(await registry.remove('a', 'chat')).toBe(true);
    expect(await restart().ids()).toEqual([]);
  });

  it('has nothing come back behind a removal', async () => {
    const { registry, store, turn } = createSessionHarness();
    const write = store.write.bind(store);
    const begun = gate();
    const goOn = gate();
    store.write = async (...args) => {
      begun.open();
      await goOn.opened;
      return write(...args);
    };
    turn('chat', hello);
    await begun.opened;
    const removing = registry.remove('a', 'chat');
    await settle();
    goOn.open();
    expect(await removing).toBe(true);
    await registry.flush();
    expect(store.objects.size).toBe(0);
  });

  it('does not keep those who leave', async () => {
    const { registry, memory, turn } = createSessionHarness();
    turn('chat', hello);
    await registry.flush();
    const goOn = gate();
    memory.onForget = () => goOn.opened;
    const leaving = new AbortController();
    const removing = registry.remove('a', 'chat', leaving.signal);
    const listing = registry.get('a', 'chat', leaving.signal);
    leaving.abort(new Error('left'));
    await expect(removing).rejects.toThrow('left');
    await expect(listing).rejects.toThrow('left');
    goOn.open();
    // What had begun is finished.
    expect(await registry.get('a', 'chat')).toBeNull();
  });
});

describe('without a store', () => {
  it('sessions end with the process', async () => {
    const harness = createSessionHarness({ store: null });
    harness.turn('chat', hello);
    expect(await harness.ids()).toEqual(['chat']);
    await harness.registry.close();
    expect(harness.store.objects.size).toBe(0);
    expect(await harness.restart().ids()).toEqual([]);
  });
});

describe('a stored session', () => {
  it('is refused where any part is not what it should be', async () => {
    const { registry, store, turn } = createSessionHarness();
    turn('chat', content);
    await registry.flush();
    const [bytes] = Array.from(store.objects.values());
    const stored = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const { contents } = stored as { contents: Record<string, unknown>[] };
    const [first] = contents;
    expect(parseSession(stored).content).toEqual(content);
    const wrongs: readonly Record<string, unknown>[] = [
      { version: 2 },
      { id: 1 },
      { turns: -1 },
      { usedMs: null },
      { parent: 3 },
      { metadata: { a: 1 } },
      { contents: [] },
      { contents: [{ ...first, words: 'AAA' }] },
      { contents: [{ ...first, words: 'AAAAAA=='.slice(0, 4) }] },
      { contents: [{ ...first, images: [{ position: 8, sha256: 'ab'.repeat(32) }] }] },
      { contents: [{ ...first, images: [{ position: 1, sha256: 'AB' }] }] },
    ];
    for (const wrong of wrongs) expect(() => parseSession({ ...stored, ...wrong })).toThrow();
    expect(() => parseSession(null)).toThrow(TypeError);
  });
});
