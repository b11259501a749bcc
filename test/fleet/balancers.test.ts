import { describe, expect, it } from 'vitest';
import type { Visit } from '../../src/fleet/affinity.ts';
import { createCookieAffinity } from '../../src/fleet/cookie.ts';
import { createHashedHeader } from '../../src/fleet/hashed-header.ts';
import { createPool } from '../../src/fleet/pool.ts';
import { createTokenEcho, type TokenEchoOptions } from '../../src/fleet/token-echo.ts';
import { type AffinitySetup, describeAffinity, turnOf, visitFleet } from '../contracts/affinity.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createFakeCookieBalancer } from '../support/fake-lb-cookie.ts';
import { createFakeHashedHeader } from '../support/fake-lb-hashed-header.ts';
import { createFakeReplicas, urlOf } from '../support/fake-lb-pool.ts';
import { createFakeTokenEcho, type FakeTokenEchoBalancer } from '../support/fake-lb-token-echo.ts';
import { createFakeWorker, createFakeWorkers, restart } from '../support/fake-workers.ts';
import { thrownBy } from '../support/thrown-by.ts';

const URL = 'https://fleet.test';
const SESSION = 'aaaabbbbccccddddaaaabbbbccccdddd';
const MAX_CONCURRENCY = 4;

function echo(mode: NonNullable<TokenEchoOptions['mode']>): AffinitySetup & {
  readonly balancer: FakeTokenEchoBalancer;
} {
  const balancer = createFakeTokenEcho(createFakeWorkers(3), MAX_CONCURRENCY, restart);
  return { affinity: createTokenEcho({ url: URL, mode }), balancer };
}

function cookies(): AffinitySetup {
  const balancer = createFakeCookieBalancer(createFakeWorkers(3), MAX_CONCURRENCY);
  return { affinity: createCookieAffinity({ url: URL, clock: createFakeClock() }), balancer };
}

describeAffinity('token echo, soft', () => echo('soft'));
describeAffinity('token echo, strict', () => echo('strict'));
describeAffinity('token echo, strict-resume', () => echo('strict-resume'));
describeAffinity('hashed header', () => ({
  affinity: createHashedHeader({ url: URL }),
  balancer: createFakeHashedHeader(createFakeWorkers(3), 'modal-session-id'),
}));
describeAffinity('cookie', cookies);
describeAffinity('pool', () => {
  const workers = createFakeWorkers(3);
  const affinity = createPool({ replicas: workers.map(urlOf), clock: createFakeClock() });
  return { affinity, balancer: createFakeReplicas(workers) };
});

describe('token echo', () => {
  it('spills to another worker when the pinned one is full, softly', async () => {
    const setup = echo('soft');
    const first = await visitFleet(setup, { session: SESSION });
    for (const worker of setup.balancer.workers) {
      if (worker.id === first.worker) worker.running = MAX_CONCURRENCY;
    }
    const second = await visitFleet(setup, { session: SESSION, pin: first.pin });
    expect(second).toMatchObject({ status: 200, lost: 'moved' });
    expect(second.worker).not.toBe(first.worker);
  });

  it('takes the time-out of a full worker and the loss of one for gone, strictly', async () => {
    const setup = echo('strict');
    const first = await visitFleet(setup, { session: SESSION });
    const worker = setup.balancer.workers.find(({ id }) => id === first.worker);
    if (worker === undefined) throw new Error('no worker');
    worker.running = MAX_CONCURRENCY;
    expect(await visitFleet(setup, { session: SESSION, pin: first.pin })).toMatchObject({
      status: 400,
      lost: 'gone',
    });
    worker.isUp = false;
    expect(await visitFleet(setup, { session: SESSION, pin: first.pin })).toMatchObject({
      status: 404,
      lost: 'gone',
    });
    expect((await turnOf(setup, SESSION, first.pin)).worker).not.toBe(first.worker);
  });

  it("does not take a replica's own 404 for the loss of it", () => {
    const headers = new Headers({ 'x-gemlet-replica': 'boot-1', 'x-runpod-worker-id': 'w' });
    const visit: Visit = { session: SESSION, pin: 'boot-1 w', avoid: new Set(), tokens: 1 };
    expect(
      createTokenEcho({ url: URL, mode: 'strict' }).lost({ status: 404, headers }, visit),
    ).toBe('no');
  });

  it('wakes a worker that was scaled down, and tells that its cache is lost', async () => {
    const setup = echo('strict-resume');
    const { balancer } = setup;
    const first = await visitFleet(setup, { session: SESSION });
    const at = balancer.workers.findIndex(({ id }) => id === first.worker);
    balancer.sleeping.push(...balancer.workers.splice(at, 1));
    const second = await visitFleet(setup, { session: SESSION, pin: first.pin });
    expect(second).toMatchObject({ status: 200, worker: first.worker, lost: 'moved' });
  });

  it('does not ask for a worker again that failed the request', async () => {
    const setup = echo('soft');
    const first = await visitFleet(setup, { session: SESSION });
    const [replica = ''] = first.pin?.split(' ') ?? [];
    await visitFleet(setup, { session: SESSION, pin: first.pin, avoid: new Set([replica]) });
    expect(setup.balancer.visits.at(-1)?.headers.has('x-runpod-worker-id')).toBe(false);
  });

  it('answers 503 while all workers start, and pings say why', async () => {
    const setup = echo('soft');
    for (const worker of setup.balancer.workers) setup.balancer.starting.add(worker);
    expect(setup.balancer.workers.map((worker) => setup.balancer.ping(worker))).toEqual([
      204, 204, 204,
    ]);
    expect((await visitFleet(setup, { session: SESSION })).status).toBe(503);
    setup.balancer.starting.clear();
    expect((await visitFleet(setup, { session: SESSION })).status).toBe(200);
  });
});

describe('hashed header', () => {
  it('sends the key of the proxy, also to targets, and the header of any platform', async () => {
    const headers = { 'Modal-Key': 'wk-1', 'Modal-Secret': 'ws-2' };
    const affinity = createHashedHeader({ url: URL, headers, header: 'X-Baseten-Session-Id' });
    const workers = createFakeWorkers(5);
    const setup = {
      affinity,
      balancer: createFakeHashedHeader(workers, 'x-baseten-session-id', 'wk-1'),
    };
    const first = await visitFleet(setup, { session: SESSION });
    expect(first.status).toBe(200);
    expect(affinity.targets()).toEqual([
      { url: URL, headers: { 'modal-key': 'wk-1', 'modal-secret': 'ws-2' } },
    ]);
  });

  it('moves with the hash when containers come', async () => {
    const affinity = createHashedHeader({ url: URL });
    const workers = createFakeWorkers(2);
    const setup = { affinity, balancer: createFakeHashedHeader(workers, 'modal-session-id') };
    const names = Array.from({ length: 60 }, (_, at) => `session-${at}`);
    const pins = new Map<string, string | null>();
    for (const session of names) pins.set(session, (await visitFleet(setup, { session })).pin);
    workers.push(createFakeWorker('worker-new'));
    let moved = 0;
    for (const session of names) {
      const turn = await visitFleet(setup, { session, pin: pins.get(session) ?? null });
      expect(turn.lost).toBe(turn.worker === 'worker-new' ? 'moved' : 'no');
      if (turn.lost === 'moved') moved++;
    }
    expect(moved).toBeGreaterThan(5);
    expect(moved).toBeLessThan(40);
  });
});

describe('cookie', () => {
  it('goes elsewhere when the instance is full, and stays there', async () => {
    const setup = cookies();
    const first = await visitFleet(setup, { session: SESSION });
    for (const worker of setup.balancer.workers) {
      if (worker.id === first.worker) worker.running = MAX_CONCURRENCY;
    }
    const second = await visitFleet(setup, { session: SESSION, pin: first.pin });
    expect(second).toMatchObject({ status: 200, lost: 'moved' });
    for (const worker of setup.balancer.workers) worker.running = 0;
    const third = await visitFleet(setup, { session: SESSION, pin: second.pin });
    expect(third).toMatchObject({ worker: second.worker, lost: 'no' });
  });

  it('keeps several cookies, replaces them, and forgets those that are deleted', () => {
    const clock = createFakeClock(Date.parse('2026-06-01T00:00:00Z'));
    const affinity = createCookieAffinity({ url: URL, clock, headers: { Cookie: 'own=1' } });
    let pin: string | null = null;
    const after = (...lines: readonly string[]): string | undefined => {
      const headers = new Headers({ 'x-gemlet-replica': 'boot-1' });
      for (const line of lines) headers.append('set-cookie', line);
      const visit: Visit = { session: SESSION, pin, avoid: new Set(), tokens: 1 };
      const direction = { url: URL, headers: {}, replica: null, done: () => undefined };
      pin = affinity.learn({ status: 200, headers }, visit, direction);
      const next = affinity.apply({ ...visit, pin });
      if (next instanceof Promise) throw new Error('it waits for nothing');
      return next.headers['cookie'];
    };
    expect(after('a=1; Path=/; Expires=Wed, 01 Jul 2026 00:00:00 GMT', 'b="x,y="; Secure')).toBe(
      'own=1; a=1; b="x,y="',
    );
    expect(after('a=2; max-age=60', 'c=3; Expires=Fri, 01 May 2026 00:00:00 GMT')).toBe(
      'own=1; b="x,y="; a=2',
    );
    expect(after('b=; Max-Age=0; Expires=Wed, 01 Jul 2026 00:00:00 GMT', 'no cookie')).toBe(
      'own=1; a=2',
    );
    expect(after('a=gone; Max-Age=-1')).toBe('own=1');
  });
});

describe('options of all', () => {
  it.each([
    'ftp://a.test',
    'a.test',
    '',
    'https://u:p@a.test',
    'https://a.test?x=1',
    'https://a.test/#y',
  ])('refuse %j as a base URL', (url) => {
    for (const make of [
      () => createTokenEcho({ url }),
      () => createHashedHeader({ url }),
      () => createPool({ replicas: [url], clock: createFakeClock() }),
    ]) {
      expect(thrownBy(make).code).toBe('invalid_url');
    }
  });

  it('refuse headers that are none, without telling their values', () => {
    const error = thrownBy(() => createHashedHeader({ url: URL, headers: { key: 'se\r\ncret' } }));
    expect(error.code).toBe('invalid_request');
    expect(error.message).not.toContain('cret');
    expect(thrownBy(() => createTokenEcho({ url: URL, header: 'a b' })).code).toBe(
      'invalid_request',
    );
  });
});
