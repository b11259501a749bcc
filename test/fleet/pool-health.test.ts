import { beforeEach, describe, expect, it } from 'vitest';
import type { ReplicaStatus } from '../../src/fleet/affinity.ts';
import { createPool, type Pool } from '../../src/fleet/pool.ts';
import { createFakeClock, type FakeClock } from '../support/fake-clock.ts';
import { URLS, createPoolHarness, visitOf } from '../support/pool-harness.ts';
import { thrownBy } from '../support/thrown-by.ts';

const [A, B, C, D] = URLS;

let clock: FakeClock;
let pool: Pool;
beforeEach(() => {
  clock = createFakeClock();
  pool = createPool({ replicas: URLS, clock });
});
const { say, answered, end, hold } = createPoolHarness(() => pool);

describe('health', () => {
  it('leaves a replica alone after two failures, longer each time, and tries it with one request', () => {
    pool = createPool({ replicas: [A, B], clock });
    const avoid = new Set([B]);
    const toA = { avoid };
    expect([end(toA, 'failed'), end(toA, 'failed')]).toEqual([A, A]);
    expect(end(toA, 'ok')).toBe(B);
    clock.advance(500);
    const [trial, second] = hold(2, toA);
    expect([trial?.url, second?.url]).toEqual([A, B]);
    trial?.done('failed');
    clock.advance(999);
    expect(end(toA, 'ok')).toBe(B);
    clock.advance(1);
    expect(end(toA, 'ok')).toBe(A);
    expect(pool.stats()[0]?.usability).toBe('ready');
  });

  it('counts all that fails together once', () => {
    pool = createPool({ replicas: [A], clock });
    for (const direction of hold(10)) direction.done('failed');
    clock.advance(500);
    expect(end({}, 'ok')).toBe(A);
  });

  it('lets others try again when an answer has begun', () => {
    pool = createPool({ replicas: [A, B], clock });
    const toA = { avoid: new Set([B]) };
    for (const direction of hold(2, toA)) direction.done('failed');
    clock.advance(500);
    const [trial] = hold(1, toA);
    if (trial === undefined) throw new Error('no trial');
    answered(trial, visitOf(), 'boot-1');
    expect(end(toA, 'ok')).toBe(A);
  });

  it('takes back one that recovered little by little', () => {
    for (const direction of hold(2, { avoid: new Set([B, C, D]) })) direction.done('failed');
    clock.advance(500);
    end({ avoid: new Set([B, C, D]) }, 'ok');
    const early = hold(12).filter(({ url }) => url === A).length;
    expect(early).toBeLessThan(2);
    clock.advance(10_000);
    const late = hold(12).filter(({ url }) => url === A).length;
    expect(late).toBeGreaterThan(3);
  });

  it('pauses one that refuses, shortly', () => {
    pool = createPool({ replicas: [A, B], clock });
    end({ avoid: new Set([B]) }, 'refused');
    expect(hold(3).map(({ url }) => url)).toEqual([B, B, B]);
    clock.advance(100);
    expect(end({}, 'ok')).toBe(A);
  });

  it('believes a status: silence is failure, an answer is worth a try', () => {
    pool.observe?.(A, null);
    expect(pool.stats()[0]?.usability).toBe('open');
    say(A);
    expect(pool.stats()[0]?.usability).toBe('ready');
    pool.observe?.('http://nobody.test', null);
  });

  it('does not hold the failure of a process against the next one', () => {
    pool = createPool({ replicas: [A], clock });
    say(A, { replica: 'boot-1' });
    const held = hold(3);
    say(A, { replica: 'boot-2' });
    for (const direction of held) direction.done('failed');
    expect(pool.stats()[0]?.usability).toBe('ready');
  });

  it('goes where a request failed before only if nothing else is left', () => {
    const avoid = new Set<string>([A, B, C]);
    expect(end({ avoid, session: 's' }, 'ok')).toBe(D);
    avoid.add(D);
    expect(URLS).toContain(end({ avoid, session: 's' }, 'ok'));
  });
});

describe('states', () => {
  const all = (state: ReplicaStatus['state'], more: Partial<ReplicaStatus> = {}): void => {
    for (const url of URLS) say(url, { state, ...more });
  };

  it('gives no work to those that load or drain while one is ready', () => {
    say(A, { state: 'loading' });
    say(B, { state: 'draining' });
    say(C, { state: 'idle' });
    say(D);
    expect(new Set(hold(8, { session: 's' }).map(({ url }) => url))).toEqual(new Set([D]));
  });

  it('says how long the load still takes', () => {
    const progress = { phase: 'downloading', loadedBytes: 1, totalBytes: 2 } as const;
    all('loading');
    expect(thrownBy(() => pool.apply(visitOf()))).toMatchObject({
      code: 'model_loading',
      retryAfterMs: undefined,
    });
    say(B, {
      state: 'loading',
      progress: { ...progress, bytesPerSecond: 1, etaMs: 2_345, startedMs: 0 },
    });
    expect(thrownBy(() => pool.apply(visitOf())).retryAfterMs).toBe(2_345);
  });

  it('wakes one that is idle if nobody is ready or on the way', () => {
    all('idle');
    expect(URLS).toContain(end({}, 'ok'));
    say(A, { state: 'loading' });
    expect(thrownBy(() => pool.apply(visitOf())).code).toBe('model_loading');
  });

  it('says that all drain, that all are full, that nobody can be reached, that there is nobody', () => {
    all('draining');
    expect(thrownBy(() => pool.apply(visitOf())).code).toBe('draining');
    all('ready', { running: 100 });
    expect(thrownBy(() => pool.apply(visitOf({ session: 's' })))).toMatchObject({
      code: 'queue_full',
      retryAfterMs: 1_000,
    });
    for (const url of URLS) pool.observe?.(url, null);
    expect(thrownBy(() => pool.apply(visitOf())).code).toBe('upstream_unavailable');
    pool = createPool({ replicas: [], clock });
    expect(thrownBy(() => pool.apply(visitOf())).code).toBe('upstream_unavailable');
  });

  it('tries again what it heard bad things of long ago', () => {
    all('draining');
    clock.advance(10_001);
    expect(URLS).toContain(end({}, 'ok'));
  });
});
