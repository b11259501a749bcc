import { beforeEach, describe, expect, it } from 'vitest';
import type { Direction } from '../../src/fleet/affinity.ts';
import { createPool, type Pool } from '../../src/fleet/pool.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';
import { SLOTS, URLS, bootOf, createPoolHarness, visitOf } from '../support/pool-harness.ts';
import { forSeeds } from '../support/seeded-random.ts';
import { thrownBy } from '../support/thrown-by.ts';

const [A, B, C, D] = URLS;

let clock: FakeClock;
let pool: Pool;
beforeEach(() => {
  clock = createFakeClock();
  pool = createPool({ replicas: URLS, clock });
});
const { say, answered, end, hold } = createPoolHarness(() => pool);

describe('placing', () => {
  it('spreads requests without a session over the least loaded', () => {
    const counts = new Map<string, number>();
    for (const { url } of hold(16)) counts.set(url, (counts.get(url) ?? 0) + 1);
    expect([...counts.values()]).toEqual([4, 4, 4, 4]);
  });

  it('spreads them too when nothing runs', () => {
    const urls = new Set(Array.from({ length: 4 }, () => end({}, 'ok')));
    expect(urls.size).toBe(4);
  });

  it('places a session at the same replica in every gateway', () => {
    const other = createPool({ replicas: URLS.toReversed(), clock });
    for (let at = 0; at < 50; at++) {
      const session = `session-${at}`;
      const direction = other.apply(visitOf({ session }));
      direction.done('ok');
      expect(direction.url).toBe(end({ session }, 'ok'));
    }
  });

  it('counts what replicas say of the load of others, until that is old', () => {
    for (const url of [A, B, C]) say(url, { running: SLOTS });
    say(D);
    expect(new Set(hold(3).map(({ url }) => url))).toEqual(new Set([D]));
    clock.advance(10_001);
    expect(hold(1)[0]?.url).not.toBe(D);
  });

  it('does not count its own requests twice', () => {
    for (const url of URLS) say(url);
    hold(8);
    for (const url of URLS) say(url, { running: 2 });
    expect(pool.stats().map(({ load }) => load)).toEqual([2, 2, 2, 2]);
  });

  it('gives more to those with more slots, and weighs requests by their tokens', () => {
    pool = createPool({ replicas: [A, B], clock });
    say(A, { slots: 12 });
    say(B, { slots: 4 });
    const counts = new Map<string, number>();
    for (const { url } of hold(16)) counts.set(url, (counts.get(url) ?? 0) + 1);
    expect(counts).toEqual(
      new Map([
        [A, 12],
        [B, 4],
      ]),
    );
    const [long] = hold(1, { tokens: 1e9 });
    expect(pool.stats().find(({ url }) => url === long?.url)?.load).toBe(
      (counts.get(long?.url ?? '') ?? 0) + 3,
    );
  });

  it('never loads a replica above the bound, whatever sessions come', async () => {
    await forSeeds(20, (random) => {
      clock = createFakeClock();
      pool = createPool({ replicas: URLS, clock });
      for (const url of URLS) say(url);
      const held: Direction[] = [];
      for (let step = 0; step < 200; step++) {
        if (held.length > 0 && random.chance(0.45)) {
          held.splice(random.integer(0, held.length - 1), 1)[0]?.done('ok');
          continue;
        }
        if (held.length >= 60) continue;
        const direction = pool.apply(visitOf({ session: `s-${random.integer(0, 5)}` }));
        held.push(direction);
        const load = pool.stats().find(({ url }) => url === direction.url)?.load ?? 0;
        expect(load).toBeLessThanOrEqual(Math.ceil((1.25 * held.length) / URLS.length));
      }
    });
  });
});

describe('pins', () => {
  const session = 'some-session';

  it('keep a session while a slot is free, though others have less to do', () => {
    for (const url of URLS) say(url);
    const first = pool.apply(visitOf({ session }));
    const pin = answered(first, visitOf({ session }), bootOf(first.url));
    const more = hold(SLOTS - 1, { session, pin });
    expect(more.map(({ url }) => url)).toEqual(Array(SLOTS - 1).fill(first.url));
    expect(hold(1, { session, pin })[0]?.url).not.toBe(first.url);
  });

  it('are kept when replicas come, and by a gateway that has just begun', () => {
    const first = pool.apply(visitOf({ session }));
    const pin = answered(first, visitOf({ session }), 'boot-1');
    first.done('ok');
    for (let at = 0; at < 20; at++) pool.add(`http://new-${at}.test`);
    expect(end({ session, pin }, 'ok')).toBe(first.url);
    pool = createPool({ replicas: URLS, clock });
    expect(end({ session, pin }, 'ok')).toBe(first.url);
  });

  it('say nothing once the process there is another one', () => {
    const pin = 'boot-old http://a.test';
    const sessions = Array.from({ length: 40 }, (_, at) => `session-${at}`);
    expect(new Set(sessions.map((each) => end({ session: each, pin }, 'ok')))).toEqual(
      new Set([A]),
    );
    say(A, { replica: 'boot-new' });
    const urls = new Set(sessions.map((each) => end({ session: each, pin }, 'ok')));
    expect(urls.size).toBe(4);
  });

  it('are no URLs to go to', () => {
    const { url } = pool.apply(visitOf({ session, pin: 'boot-1 http://evil.test' }));
    expect(URLS).toContain(url);
  });
});

describe('the list', () => {
  it('takes each replica once, also written another way', () => {
    expect(thrownBy(() => pool.add('http://A.test:80/')).code).toBe('invalid_url');
    pool.add('http://a.test/path/');
    expect(pool.targets().at(-1)?.url).toBe('http://a.test/path');
  });

  it('gives one that was removed no new work, and lets its requests end', () => {
    const [held] = hold(1, { avoid: new Set([B, C, D]) });
    expect([pool.remove(`${A}/`), pool.remove(A)]).toEqual([true, false]);
    expect(hold(8).map(({ url }) => url)).not.toContain(A);
    held?.done('ok');
    expect(pool.stats().map(({ url }) => url)).toEqual([B, C, D]);
  });

  it('sends its headers with requests and to targets', () => {
    pool = createPool({ replicas: [A], clock, headers: { Authorization: 'Bearer key' } });
    const headers = { authorization: 'Bearer key' };
    expect(pool.apply(visitOf()).headers).toEqual(headers);
    expect(pool.targets()).toEqual([{ url: A, headers }]);
  });
});
