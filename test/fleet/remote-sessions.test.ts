import { beforeEach, expect, it } from 'vitest';
import { createApp } from '../../src/app.ts';
import { createFleetLink } from '../../src/fleet/fleet-link.ts';
import { createRemoteSessions } from '../../src/fleet/remote-sessions.ts';
import type { SessionControl } from '../../src/sessions/session.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';
import { firstReplica, FLEET_KEYS, plainTable } from '../support/fleet-harness.ts';
import { createSessionHarness, type SessionHarness } from '../support/session-harness.ts';

const content = (...words: number[]) => ({ scope: 'a', words: Int32Array.from(words), images: [] });

let clock: FakeClock;
let harnesses: SessionHarness[];
let sessions: SessionControl;
let isSecondDown: boolean;
let table: ReturnType<typeof plainTable>;

beforeEach(() => {
  clock = createFakeClock();
  isSecondDown = false;
  table = plainTable();
  // Two replicas, each with a list of its own.
  harnesses = [0, 1].map(() => createSessionHarness({ store: null, clock }));
  const apps = harnesses.map(({ registry }) =>
    createApp({
      completer: { ...createFakeEngineCompleter().completer, sessions: registry },
      fleetKeys: FLEET_KEYS,
    }),
  );
  const link = createFleetLink({
    keys: FLEET_KEYS,
    clock: systemClock,
    async fetch(url, init) {
      const at = url.startsWith('http://r0/') ? 0 : 1;
      if (at === 1 && isSecondDown) throw new TypeError('fetch failed');
      const body = init.body as Uint8Array<ArrayBuffer>;
      const headers = new Headers(init.headers);
      headers.set('content-length', String(body.length));
      return (await apps[at]?.request(url, { ...init, body, headers })) ?? Response.error();
    },
  });
  const affinity = firstReplica(['http://r0', 'http://r1']);
  sessions = createRemoteSessions({ affinity, link, sessions: table, key: FLEET_KEYS[0] ?? '' });
});

function turn(replica: number, id: string, ...words: number[]): void {
  clock.advance(1_000);
  harnesses[replica]?.turn(id, content(...words));
}

it('lists those of all replicas once, latest first, page by page', async () => {
  turn(0, 'one', 1, 2, 3, 4);
  turn(1, 'two', 5, 6, 7, 8);
  turn(0, 'three', 9);
  // It moved: where it was last counts.
  turn(1, 'one', 1, 2, 3, 4, 5, 6);
  const first = await sessions.list('a', { limit: 2, after: null });
  expect(first.hasMore).toBe(true);
  const rest = await sessions.list('a', { limit: 2, after: first.sessions.at(-1)?.id ?? '' });
  const all = [...first.sessions, ...rest.sessions];
  expect(all.map(({ id, tokens }) => [id, tokens])).toEqual([
    ['one', 6],
    ['three', 1],
    ['two', 4],
  ]);
  expect(rest.hasMore).toBe(false);
  await expect(sessions.list('a', { limit: 2, after: 'none' })).rejects.toThrow('after');
  expect((await sessions.list('b', { limit: 2, after: null })).sessions).toEqual([]);
});

it('reads, changes and forks where a session was last, and deletes it everywhere', async () => {
  turn(0, 'talk', 1, 2, 3, 4);
  turn(1, 'talk', 1, 2, 3, 4, 5, 6, 7, 8);
  expect(await sessions.get('a', 'talk')).toMatchObject({ tokens: 8 });
  expect(await sessions.get('b', 'talk')).toBeNull();
  const changed = await sessions.put('a', 'talk', { metadata: { note: 'x' } });
  expect(changed).toMatchObject({ tokens: 8, metadata: { note: 'x' } });
  const fork = await sessions.fork('a', 'talk', 'other');
  expect(fork).toMatchObject({ id: 'other', parent: 'talk', tokens: 8 });
  await expect(sessions.fork('a', 'talk', 'other')).rejects.toMatchObject({
    code: 'invalid_request',
  });
  expect(await sessions.remove('a', 'talk')).toBe(true);
  expect(await sessions.remove('a', 'talk')).toBe(false);
  expect(await sessions.get('a', 'talk')).toBeNull();
  expect(await sessions.get('a', 'other')).toMatchObject({ tokens: 8 });
});

it('does with the replicas that answer, and fails when none does', async () => {
  turn(0, 'talk', 1, 2, 3, 4);
  isSecondDown = true;
  expect(await sessions.get('a', 'talk')).toMatchObject({ tokens: 4 });
  await harnesses[0]?.registry.close();
  await expect(sessions.get('a', 'talk')).rejects.toMatchObject({ code: 'draining' });
});
